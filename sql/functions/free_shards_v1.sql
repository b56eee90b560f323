-- Instruments that nobody matches now: their lease is free or has run out.
-- Result: instrument numbers, ascending. Locks: none.
CREATE FUNCTION exchange.free_shards_v1() RETURNS SETOF integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT instrument_id FROM shard
    WHERE owner IS NULL OR lease_until < clock_timestamp()
    ORDER BY instrument_id
$$;
