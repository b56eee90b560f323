-- The full depth of a book at a sequence, kept on request or periodically.
CREATE TABLE exchange.book_snapshots (
    snapshot_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id integer NOT NULL REFERENCES exchange.instruments,
    sequence bigint NOT NULL CHECK (sequence >= 0),
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    bid_prices numeric[] NOT NULL,
    bid_quantities numeric[] NOT NULL,
    ask_prices numeric[] NOT NULL,
    ask_quantities numeric[] NOT NULL,
    -- Of their own, so that a listing does not read the arrays.
    bid_levels integer NOT NULL GENERATED ALWAYS AS (cardinality(bid_prices)) STORED,
    ask_levels integer NOT NULL GENERATED ALWAYS AS (cardinality(ask_prices)) STORED,
    best_bid numeric GENERATED ALWAYS AS (bid_prices[1]) STORED,
    best_ask numeric GENERATED ALWAYS AS (ask_prices[1]) STORED,
    CONSTRAINT book_snapshots_sequence_key UNIQUE (instrument_id, sequence),
    CONSTRAINT book_snapshots_levels_check CHECK (
        cardinality(bid_prices) = cardinality(bid_quantities)
        AND cardinality(ask_prices) = cardinality(ask_quantities)),
    CONSTRAINT book_snapshots_positive_check CHECK (
        (0 < ALL (bid_prices)) IS TRUE AND (0 < ALL (bid_quantities)) IS TRUE
        AND (0 < ALL (ask_prices)) IS TRUE AND (0 < ALL (ask_quantities)) IS TRUE),
    CONSTRAINT book_snapshots_crossed_check CHECK (bid_prices[1] < ask_prices[1])
);
COMMENT ON TABLE exchange.book_snapshots IS
    'Depth snapshots: every level of both sides, best first. Never changed; old ones may go.';

-- DELETE is left for retention.
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON exchange.book_snapshots
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1();
