-- TEMPORARY STAND-IN: dropped when the ledger's migration 0003 is merged.
ALTER TYPE exchange.entry_kind ADD VALUE 'deposit';
ALTER TYPE exchange.entry_kind ADD VALUE 'withdrawal';
ALTER TYPE exchange.entry_kind ADD VALUE 'adjustment';
ALTER TYPE exchange.entry_kind ADD VALUE 'settlement';
CREATE TABLE exchange.client_segments (
    segment_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    segment text NOT NULL UNIQUE,
    description text
);
INSERT INTO exchange.client_segments (segment) VALUES ('standard');
ALTER TABLE exchange.clients ADD COLUMN segment_id smallint NOT NULL DEFAULT 1;
INSERT INTO exchange.clients (client_no, client_id) OVERRIDING SYSTEM VALUE
VALUES (-1, '@world'), (-2, '@fees'), (-3, '@settlement');
CREATE TABLE exchange.fees (
    instrument_id integer NOT NULL,
    segment_id smallint NOT NULL,
    maker_bps numeric NOT NULL,
    taker_bps numeric NOT NULL,
    PRIMARY KEY (instrument_id, segment_id)
);
ALTER TABLE exchange.trades
    ADD COLUMN maker_fee numeric NOT NULL DEFAULT 0,
    ADD COLUMN taker_fee numeric NOT NULL DEFAULT 0,
    ADD COLUMN maker_segment_id smallint NOT NULL DEFAULT 1,
    ADD COLUMN taker_segment_id smallint NOT NULL DEFAULT 1;
CREATE INDEX trades_maker_client ON exchange.trades (maker_client_no, traded_at);
CREATE INDEX trades_taker_client ON exchange.trades (taker_client_no, traded_at);
CREATE TABLE exchange.house_entries (
    sequence bigint PRIMARY KEY,
    kind exchange.entry_kind NOT NULL,
    actor text,
    reason text,
    idempotency_key text UNIQUE,
    posted_at timestamptz NOT NULL
);
CREATE TABLE exchange.settlement_runs (
    day date PRIMARY KEY,
    run_no bigint GENERATED ALWAYS AS IDENTITY,
    settled_at timestamptz NOT NULL,
    actor text,
    clients integer NOT NULL
);
CREATE TABLE exchange.settlement_bounds (
    day date NOT NULL,
    instrument_id integer NOT NULL,
    from_sequence bigint NOT NULL,
    to_sequence bigint NOT NULL,
    PRIMARY KEY (day, instrument_id)
);
CREATE TABLE exchange.settlement_clients (
    day date NOT NULL,
    client_no bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (day, client_no)
);
CREATE TABLE exchange.closing_balances (
    day date NOT NULL,
    client_no bigint NOT NULL,
    asset_id integer NOT NULL,
    posted numeric NOT NULL,
    PRIMARY KEY (day, client_no, asset_id)
);
