-- Who matches each instrument, and how far it has come.
-- Result: by instrument number; owner is null while the lease is free; lease_left_ms is what is left
-- of it, negative when it has run out. Locks: none.
CREATE FUNCTION exchange.list_shards_v1() RETURNS TABLE (
    instrument text, owner text, epoch bigint, lease_left_ms integer, last_stream_id text,
    sequence bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT i.instrument, s.owner, s.epoch,
           CASE WHEN s.owner IS NOT NULL THEN
               (1000 * extract(epoch FROM s.lease_until - clock_timestamp()))::integer END,
           s.last_stream_id, s.sequence
    FROM shard s JOIN instruments i USING (instrument_id)
    ORDER BY s.instrument_id
$$;
