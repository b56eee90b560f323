-- The house's book: what moves balances and is not a trade.

CREATE TABLE exchange.house_book (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sequence bigint NOT NULL DEFAULT 0,
    last_posted_at timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE exchange.house_book IS
    'One row: how far book 0 has come. Whoever posts there holds its lock until commit, so the '
    'sequences have no gap and posted_at never decreases along them.';
INSERT INTO exchange.house_book DEFAULT VALUES;

CREATE TABLE exchange.house_entries (
    sequence bigint PRIMARY KEY,
    kind exchange.entry_kind NOT NULL CHECK (kind <> 'trade'),
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 128),
    reason text NOT NULL CHECK (length(reason) <= 512),
    idempotency_key text UNIQUE CHECK (length(idempotency_key) BETWEEN 1 AND 128),
    posted_at timestamptz NOT NULL,
    -- A settlement is kept from being repeated by its day and client.
    CHECK ((kind = 'settlement') = (idempotency_key IS NULL))
);
COMMENT ON TABLE exchange.house_entries IS
    'Who posted an entry of book 0, and why. Not partitioned, so that keys stay unique.';

CREATE TABLE exchange.settlement_runs (
    day date PRIMARY KEY,
    run_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    settled_at timestamptz NOT NULL,
    actor text NOT NULL,
    clients integer NOT NULL
);
COMMENT ON TABLE exchange.settlement_runs IS
    'The days that are settled, and how many clients'' obligations each run has discharged.';

CREATE TABLE exchange.settlement_bounds (
    day date NOT NULL REFERENCES exchange.settlement_runs DEFERRABLE INITIALLY DEFERRED,
    instrument_id integer NOT NULL,
    from_sequence bigint NOT NULL,
    to_sequence bigint NOT NULL CHECK (to_sequence >= from_sequence),
    PRIMARY KEY (day, instrument_id)
);
COMMENT ON TABLE exchange.settlement_bounds IS
    'The trades that a run has covered: per instrument, the sequences in (from, to]. Each run goes '
    'on where the one before has ended. Of book 0, the entries that its closing balances add.';

CREATE TABLE exchange.settlement_clients (
    day date NOT NULL REFERENCES exchange.settlement_runs DEFERRABLE INITIALLY DEFERRED,
    client_no bigint NOT NULL,
    sequence bigint NOT NULL UNIQUE,
    PRIMARY KEY (day, client_no)
);
COMMENT ON TABLE exchange.settlement_clients IS
    'The one entry of book 0 that discharges a client''s obligations of a run.';

CREATE TABLE exchange.closing_balances (
    day date NOT NULL REFERENCES exchange.settlement_runs DEFERRABLE INITIALLY DEFERRED,
    client_no bigint NOT NULL,
    asset_id integer NOT NULL,
    posted numeric NOT NULL,
    PRIMARY KEY (day, client_no, asset_id)
);
COMMENT ON TABLE exchange.closing_balances IS
    'Every account at the end of a settled day: all postings of the instruments'' books up to the '
    'run''s bounds, and of book 0 up to and including the run''s own.';
