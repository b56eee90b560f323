-- The book after one event as ordered levels, for analysts.
-- Arguments: instrument number; sequence; how many levels of each side (null: all).
-- Result: bids then asks, best first; cumulative is the quantity from the best level to this one.
-- Errors: as book_at. Locks: none.
CREATE FUNCTION exchange.book_depth_v1(
    p_instrument_id integer, p_sequence bigint, p_levels integer
) RETURNS TABLE (
    side text, level integer, price numeric, quantity numeric, cumulative numeric, orders bigint
)
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
    IF p_levels < 1 THEN
        RAISE EXCEPTION 'levels must be at least 1 (null: all of them)' USING ERRCODE = '22023';
    END IF;
    RETURN QUERY
    SELECT CASE r.side WHEN 'buy' THEN 'bid' ELSE 'ask' END, r.level::integer,
           trim_scale(r.price), trim_scale(r.quantity), trim_scale(r.cumulative), r.orders
    FROM (
        SELECT b.*,
               row_number() OVER best_first AS level,
               sum(b.quantity) OVER best_first AS cumulative
        FROM book_at_v1(p_instrument_id, p_sequence) b
        WINDOW best_first AS (
            PARTITION BY b.side
            ORDER BY CASE b.side WHEN 'buy' THEN -b.price ELSE b.price END)
    ) r
    WHERE p_levels IS NULL OR r.level <= p_levels
    ORDER BY r.side, r.level;
END
$$;
