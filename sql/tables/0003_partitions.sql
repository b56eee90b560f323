-- Tables that only grow are cut by book and by ranges of sequences. Their rows move.

CREATE TABLE exchange.settings (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    range_length bigint NOT NULL DEFAULT 5000000 CHECK (range_length >= 1)
);
COMMENT ON TABLE exchange.settings IS
    'One row. range_length: how many sequences a new partition holds.';
INSERT INTO exchange.settings DEFAULT VALUES;

CREATE TABLE exchange.partition_ranges (
    instrument_id integer NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL CHECK (last_sequence >= first_sequence),
    retired_at timestamptz,
    last_trade_no bigint,
    PRIMARY KEY (instrument_id, first_sequence),
    CHECK ((retired_at IS NULL) = (last_trade_no IS NULL))
);
COMMENT ON TABLE exchange.partition_ranges IS
    'The ranges of sequences, both ends included, for which there are partitions, per book. A range '
    'with retired_at does not count any more: its partitions are or will be detached, what they '
    'come to is carried, and last_trade_no is the last trade up to its end.';

CREATE TABLE exchange.carried_balances (
    instrument_id integer NOT NULL,
    client_no bigint NOT NULL,
    asset_id integer NOT NULL,
    posted numeric NOT NULL,
    PRIMARY KEY (instrument_id, client_no, asset_id)
);
COMMENT ON TABLE exchange.carried_balances IS
    'Sum of the postings of retired ranges per account and book: balances are these and what is '
    'still attached.';

CREATE TABLE exchange.carried_positions (
    instrument_id integer NOT NULL,
    client_no bigint NOT NULL,
    net_quantity numeric NOT NULL,
    total_cost numeric NOT NULL,
    realized_pnl numeric NOT NULL,
    PRIMARY KEY (instrument_id, client_no)
);
COMMENT ON TABLE exchange.carried_positions IS
    'Positions as they were at the end of the last retired range of each book.';

CREATE VIEW exchange.kept_after AS
SELECT instrument_id,
       coalesce(max(last_sequence) FILTER (WHERE retired_at IS NOT NULL), 0) AS sequence,
       coalesce(max(last_trade_no), 0) AS trade_no
FROM exchange.partition_ranges GROUP BY instrument_id;
COMMENT ON VIEW exchange.kept_after IS
    'Per book, the last sequence and the last trade number that are retired; 0 for none.';

ALTER TYPE exchange.entry_kind RENAME TO entry_kind_0002;
CREATE TYPE exchange.entry_kind AS ENUM
    ('trade', 'deposit', 'withdrawal', 'adjustment', 'settlement');

ALTER TABLE exchange.trades RENAME TO trades_0002;
ALTER INDEX exchange.trades_pkey RENAME TO trades_0002_pkey;
DROP INDEX exchange.trades_maker, exchange.trades_time;
ALTER TABLE exchange.order_events RENAME TO order_events_0002;
ALTER INDEX exchange.order_events_pkey RENAME TO order_events_0002_pkey;
ALTER TABLE exchange.ledger_entries RENAME TO ledger_entries_0002;
ALTER INDEX exchange.ledger_entries_pkey RENAME TO ledger_entries_0002_pkey;
ALTER TABLE exchange.postings RENAME TO postings_0002;
ALTER INDEX exchange.postings_pkey RENAME TO postings_0002_pkey;
-- Their names are wanted, and the tables will go.
ALTER TABLE exchange.trades_0002
    DROP CONSTRAINT trades_trade_no_check, DROP CONSTRAINT trades_price_check,
    DROP CONSTRAINT trades_quantity_check, DROP CONSTRAINT trades_check;
ALTER TABLE exchange.postings_0002 DROP CONSTRAINT postings_amount_check;

CREATE TABLE exchange.trades (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    trade_no bigint NOT NULL CHECK (trade_no BETWEEN 1 AND 9007199254740991),
    price numeric NOT NULL CHECK (price > 0),
    quantity numeric NOT NULL CHECK (quantity > 0),
    taker_side exchange.side NOT NULL,
    maker_order_no bigint NOT NULL,
    taker_order_no bigint NOT NULL,
    maker_client_no bigint NOT NULL,
    taker_client_no bigint NOT NULL,
    traded_at timestamptz NOT NULL,
    maker_fee numeric NOT NULL DEFAULT 0,
    taker_fee numeric NOT NULL DEFAULT 0,
    maker_segment_id smallint NOT NULL DEFAULT 1,
    taker_segment_id smallint NOT NULL DEFAULT 1,
    PRIMARY KEY (instrument_id, sequence),
    CHECK (maker_order_no < taker_order_no)
) PARTITION BY LIST (instrument_id);
CREATE INDEX trades_maker ON exchange.trades (instrument_id, maker_order_no);
CREATE INDEX trades_time ON exchange.trades (instrument_id, traded_at);
CREATE INDEX trades_maker_client ON exchange.trades (maker_client_no, traded_at);
CREATE INDEX trades_taker_client ON exchange.trades (taker_client_no, traded_at);
COMMENT ON TABLE exchange.trades IS
    'Each match of a maker and a taker. A trade is an event: together with order_events its '
    'sequences are gapless per instrument. A taker''s trades follow its accepted event. Fees are in '
    'the quote asset, positive when the side pays; segments are those at the time of the trade.';

CREATE TABLE exchange.order_events (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    kind exchange.event_kind NOT NULL,
    order_no bigint NOT NULL,
    side exchange.side NOT NULL,
    type exchange.order_type NOT NULL,
    price numeric,
    quantity numeric NOT NULL,
    reason text,
    happened_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, sequence)
) PARTITION BY LIST (instrument_id);
COMMENT ON TABLE exchange.order_events IS
    'The event log but for trades: accepted and rejected carry the order''s terms, cancelled the '
    'quantity that was removed. With trades it rebuilds every book; it is also the outbox.';

CREATE TABLE exchange.ledger_entries (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    kind exchange.entry_kind NOT NULL,
    posted_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, sequence),
    CHECK ((kind = 'trade') = (instrument_id > 0))
) PARTITION BY LIST (instrument_id);
COMMENT ON TABLE exchange.ledger_entries IS
    'Immutable, balanced records, by book. instrument_id above 0 is the book of that instrument: '
    'its entries are trades, with the trade''s sequence. 0 is the book of the house: see '
    'house_entries.';

CREATE TABLE exchange.postings (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    leg smallint NOT NULL,
    client_no bigint NOT NULL,
    asset_id integer NOT NULL,
    amount numeric NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (instrument_id, sequence, leg)
) PARTITION BY LIST (instrument_id);
COMMENT ON TABLE exchange.postings IS
    'The legs of ledger entries. A credit, positive, is received by the account; a debit, '
    'negative, is given. An account is a client''s balance in one asset. Legs 1 to 4 are a trade, '
    '5 and 6 its taker''s fee (payer, @fees), 7 and 8 its maker''s.';
