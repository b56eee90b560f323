-- One part of an engine snapshot, as it was stored; whoever loads it checks its digest.
-- Arguments: instrument number, sequence, part. Result: one row or none; see load_orders.
-- Locks: none.
CREATE FUNCTION exchange.load_snapshot_part_v1(
    p_instrument_id integer, p_sequence bigint, p_part integer
) RETURNS TABLE (status text, orders integer, numbers bytea, texts text, digest bytea)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
    SELECT p.status::text, p.orders, p.numbers, p.texts, p.digest
    FROM engine_snapshot_parts p
    WHERE p.instrument_id = p_instrument_id AND p.sequence = p_sequence AND p.part = p_part
$$;
