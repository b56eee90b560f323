-- Take the right to match one instrument, with a later epoch, when its lease is free, has run out
-- (by this server's clock), is already the caller's, or ends so late that this clock cannot have
-- given it: the clock went back, and whoever holds it renews it by the clock as it is, or is dead.
-- Arguments: instrument number; name of the owner, unique per process; lease in milliseconds; the
-- least epoch wanted: what others have seen may be ahead of this database, when it is new or was
-- restored.
-- Result: one row, where the instrument stands; no row when another owner's lease is running.
-- Locks: the shard row. It queues behind a commit of the old owner, so what it returns is final.
CREATE FUNCTION exchange.acquire_shard_v2(
    p_instrument_id integer, p_owner text, p_lease_ms integer, p_epoch_min bigint
) RETURNS TABLE (
    epoch bigint, last_stream_id text, sequence bigint, order_no bigint, trade_no bigint,
    last_time_us bigint
)
LANGUAGE sql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    UPDATE shard s
    SET epoch = greatest(s.epoch + 1, p_epoch_min),
        owner = p_owner,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    WHERE s.instrument_id = p_instrument_id
      AND (s.owner IS NULL OR s.owner = p_owner
           OR s.lease_until NOT BETWEEN clock_timestamp()
              AND clock_timestamp() + p_lease_ms * interval '1 millisecond' + interval '1 minute')
    RETURNING s.epoch, s.last_stream_id, s.sequence, s.order_no, s.trade_no, s.last_time_us
$$;
