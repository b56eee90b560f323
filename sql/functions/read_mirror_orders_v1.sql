-- The orders that the events of one instrument after a sequence, up to another, are about: their
-- terms, and what was filled of them at the earlier one. That is what is filled now less the fills
-- since, which are still in the tables, whatever older ranges were detached. (Where a detached range
-- has ended within a command, its taker has fills since, too: up to the next event of an order.)
-- Arguments: instrument number; after this sequence; up to this one, where a command ends.
-- Result: amounts in units of 1e-8, 0 for no price, filled_value in 1e-16. Locks: none.
CREATE FUNCTION exchange.read_mirror_orders_v1(
    p_instrument_id integer, p_after bigint, p_to bigint
) RETURNS TABLE (
    order_no bigint, order_id text, client_id text, side text, type text, price_ticks numeric,
    quantity_lots numeric, filled_lots numeric, filled_value numeric, idempotency_key text,
    created_us bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_cut bigint := coalesce(
        (SELECT e.sequence FROM order_events e
         WHERE e.instrument_id = p_instrument_id AND e.sequence > p_after
         ORDER BY e.sequence LIMIT 1), p_to + 1);
BEGIN
    RETURN QUERY
    SELECT o.order_no, o.order_id, c.client_id, o.side::text, o.type::text,
           coalesce(trunc(o.price * 100000000), 0), trunc(o.quantity * 100000000),
           -- An order that did not exist yet had no fills.
           CASE WHEN o.sequence > p_after THEN 0
                ELSE trunc((o.filled_quantity - f.quantity) * 100000000) END,
           CASE WHEN o.sequence > p_after THEN 0
                ELSE trunc((o.filled_value - f.value) * 10000000000000000) END,
           coalesce(o.idempotency_key, ''), to_us(o.created_at)
    FROM (
        SELECT e.order_no FROM order_events e
        WHERE e.instrument_id = p_instrument_id AND e.sequence > p_after AND e.sequence <= p_to
        UNION
        SELECT unnest(ARRAY[t.maker_order_no, t.taker_order_no]) FROM trades t
        WHERE t.instrument_id = p_instrument_id AND t.sequence > p_after AND t.sequence <= p_to
    ) touched
    JOIN orders o ON o.instrument_id = p_instrument_id AND o.order_no = touched.order_no
    JOIN clients c ON c.client_no = o.client_no
    LEFT JOIN LATERAL (
        SELECT coalesce(sum(t.quantity), 0) AS quantity,
               coalesce(sum(t.price * t.quantity), 0) AS value
        FROM (
            SELECT t.price, t.quantity FROM trades t
            WHERE t.instrument_id = p_instrument_id AND t.maker_order_no = touched.order_no
              AND t.sequence > p_after AND o.sequence <= p_after
            UNION ALL
            SELECT t.price, t.quantity FROM trades t
            WHERE t.instrument_id = p_instrument_id AND t.taker_order_no = touched.order_no
              AND t.sequence > p_after AND t.sequence < v_cut AND o.sequence <= p_after
        ) t
    ) f ON true;
END
$$;
