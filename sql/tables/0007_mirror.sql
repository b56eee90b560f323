-- How far each instrument's event log has been copied to Kafka, and who copies it.

CREATE TABLE exchange.mirror_offsets (
    instrument_id integer PRIMARY KEY REFERENCES exchange.instruments,
    epoch bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    sequence bigint NOT NULL CHECK (sequence >= 0),
    trade_no bigint NOT NULL CHECK (trade_no >= 0),
    from_sequence bigint NOT NULL,
    from_trade_no bigint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE exchange.mirror_offsets IS
    'One row per instrument that a mirror has begun: every event up to sequence, and so every trade '
    'up to trade_no, is in Kafka. It is stored after Kafka has confirmed them, so what follows may '
    'be there, too, and will come again. The mirror began after from_sequence. Epoch, owner and lease are the mirror''s own.';

-- It lets go of ranges that the mirror still needs.
DROP FUNCTION exchange.retire_range_v1;
