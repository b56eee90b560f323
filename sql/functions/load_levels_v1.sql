-- What a page of the resting orders of one instrument adds to each level of its book.
-- Arguments: instrument number; status, open or partially_filled; orders after this number, at most
-- p_limit of them.
-- Result: no row when there are none, else one row: the number of the last order, after which the
-- next page begins; and sides, prices and quantities of the levels, in no order.
-- Locks: none. Read by index; the plan is made for the arguments at hand.
CREATE FUNCTION exchange.load_levels_v1(
    p_instrument_id integer, p_status exchange.order_status, p_after bigint, p_limit integer
) RETURNS TABLE (
    last_order_no bigint, sides exchange.side[], prices numeric[], quantities numeric[]
)
LANGUAGE plpgsql STABLE SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT max(l.last), array_agg(l.side), array_agg(l.price), array_agg(l.quantity)
    FROM (
        SELECT o.side, o.price, sum(o.quantity - o.filled_quantity) AS quantity,
               max(o.order_no) AS last
        FROM (SELECT r.* FROM orders r
              WHERE r.instrument_id = p_instrument_id AND r.status = p_status
                AND r.order_no > p_after
              ORDER BY r.order_no LIMIT p_limit) o
        GROUP BY o.side, o.price
    ) l
    HAVING count(*) > 0;
END
$$;
