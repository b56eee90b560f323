-- The state of a matching engine at a sequence, from which a matcher recovers.

CREATE TABLE exchange.engine_snapshots (
    instrument_id integer NOT NULL REFERENCES exchange.instruments,
    sequence bigint NOT NULL CHECK (sequence >= 0),
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    format smallint NOT NULL,
    stream_id text NOT NULL,
    order_no bigint NOT NULL,
    trade_no bigint NOT NULL,
    orders bigint NOT NULL,
    parts integer NOT NULL,
    PRIMARY KEY (instrument_id, sequence)
);
COMMENT ON TABLE exchange.engine_snapshots IS
    'Engine snapshots: the shard''s counters and stream position at a sequence, and how many orders '
    'rested. They only spare a matcher time: nothing is in them that is not in orders and the event '
    'log. Never changed; old ones may go.';

CREATE TABLE exchange.engine_snapshot_parts (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    part integer NOT NULL CHECK (part > 0),
    status exchange.order_status NOT NULL,
    orders integer NOT NULL,
    numbers bytea NOT NULL,
    texts text NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (instrument_id, sequence, part),
    FOREIGN KEY (instrument_id, sequence) REFERENCES exchange.engine_snapshots ON DELETE CASCADE
);
-- To compress them takes longer than all the rest of taking a snapshot.
ALTER TABLE exchange.engine_snapshot_parts
    ALTER numbers SET STORAGE EXTERNAL, ALTER texts SET STORAGE EXTERNAL;
COMMENT ON TABLE exchange.engine_snapshot_parts IS
    'The orders of an engine snapshot, in pages as load_orders gives them. digest is the SHA-256 of '
    'numbers and texts.';

-- DELETE is left for retention.
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON exchange.engine_snapshots
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON exchange.engine_snapshot_parts
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1();
