-- Segments of clients, the house's own accounts, and what trading costs.

-- A batch that is being committed ends first, and none starts until this migration is done.
LOCK TABLE exchange.shard IN EXCLUSIVE MODE;

CREATE TABLE exchange.client_segments (
    segment_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    segment text NOT NULL UNIQUE CHECK (segment ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
    description text NOT NULL DEFAULT ''
);
COMMENT ON TABLE exchange.client_segments IS
    'Kinds of clients: fees are set, and revenue is asked for, by segment. 1 is where all begin.';
INSERT INTO exchange.client_segments (segment, description)
VALUES ('standard', 'Every client, until it is assigned to another segment.');

ALTER TABLE exchange.clients
    ADD COLUMN segment_id smallint NOT NULL DEFAULT 1 REFERENCES exchange.client_segments,
    ADD CONSTRAINT clients_house_check CHECK ((client_no < 0) = (client_id LIKE '@%'));
COMMENT ON TABLE exchange.clients IS
    'The owners of orders and accounts, numbered at first sight. The house''s own have negative '
    'numbers and names that no client can have: @world is all that is outside (a deposit comes from '
    'it), @fees takes what trading costs, @settlement stands between the parties of a settlement.';
INSERT INTO exchange.clients (client_no, client_id) OVERRIDING SYSTEM VALUE
VALUES (-1, '@world'), (-2, '@fees'), (-3, '@settlement');

CREATE TABLE exchange.fees (
    instrument_id integer NOT NULL REFERENCES exchange.instruments,
    segment_id smallint NOT NULL REFERENCES exchange.client_segments,
    maker_bps numeric NOT NULL
        CHECK (maker_bps BETWEEN -10000 AND 10000 AND scale(maker_bps) <= 4),
    taker_bps numeric NOT NULL CHECK (taker_bps BETWEEN 0 AND 10000 AND scale(taker_bps) <= 4),
    PRIMARY KEY (instrument_id, segment_id)
);
COMMENT ON TABLE exchange.fees IS
    'What trading costs, in hundredths of a per cent of price * quantity, in the quote asset; a '
    'maker''s may be negative, a rebate. No row: nothing. They hold from the next batch on.';
