-- The engine snapshots of one instrument, newest first, without their orders.
-- Argument: instrument number. Result: sequence, format, the counters at that sequence, how many
-- orders and how many parts. Locks: none.
CREATE FUNCTION exchange.list_engine_snapshots_v1(p_instrument_id integer) RETURNS TABLE (
    sequence bigint, format smallint, order_no bigint, trade_no bigint, orders bigint, parts integer
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
    SELECT e.sequence, e.format, e.order_no, e.trade_no, e.orders, e.parts
    FROM engine_snapshots e
    WHERE e.instrument_id = p_instrument_id
    ORDER BY e.sequence DESC
$$;
