-- Take the right to mirror one instrument, with the mirror's next epoch, when its lease is free, has
-- run out or is already the caller's. A mirror that is new begins with the oldest event there is.
-- Arguments: instrument number; name of the owner, unique per run; lease in milliseconds.
-- Result: one row, what is in Kafka for sure; no row when another mirror's lease is running.
-- Locks: the row of mirror_offsets. It queues behind the old owner's store_mirror_offset.
CREATE FUNCTION exchange.begin_mirror_v1(p_instrument_id integer, p_owner text, p_lease_ms integer)
RETURNS TABLE (epoch bigint, sequence bigint, trade_no bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO mirror_offsets (instrument_id, sequence, trade_no, from_sequence, from_trade_no)
    SELECT k.instrument_id, k.sequence, k.trade_no, k.sequence, k.trade_no
    FROM kept_after k
    WHERE k.instrument_id = p_instrument_id
      AND NOT EXISTS (SELECT FROM mirror_offsets m WHERE m.instrument_id = p_instrument_id)
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    UPDATE mirror_offsets m
    SET epoch = m.epoch + 1,
        owner = p_owner,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    WHERE m.instrument_id = p_instrument_id
      AND (m.owner IS NULL OR m.owner = p_owner OR m.lease_until < clock_timestamp())
    RETURNING m.epoch, m.sequence, m.trade_no;
END
$$;
