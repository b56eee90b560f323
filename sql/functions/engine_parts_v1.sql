-- The parts of an engine snapshot: all pages of load_orders.
-- Argument: instrument number. Result: a row per part, numbered from 1.
-- STABLE, so every page is of the moment at which the calling statement began. Locks: none.
CREATE FUNCTION exchange.engine_parts_v1(p_instrument_id integer) RETURNS TABLE (
    part integer, status exchange.order_status, orders integer, numbers bytea, texts text
)
LANGUAGE plpgsql STABLE SET search_path = exchange, pg_temp AS $$
DECLARE
    v_after bigint;
BEGIN
    part := 0;
    FOREACH status IN ARRAY ARRAY['open', 'partially_filled']::order_status[] LOOP
        v_after := 0;
        LOOP
            SELECT p.orders, p.last_order_no, p.numbers, p.texts INTO orders, v_after, numbers, texts
            FROM load_orders_v1(p_instrument_id, status, v_after) p;
            EXIT WHEN NOT FOUND;
            part := part + 1;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END
$$;
