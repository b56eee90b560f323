-- The resting orders of one instrument, for recovery.
-- Result: one row per order, in order_no order, which is the priority within a price. Amounts in
-- units of 1e-8, filled_value in 1e-16, times in microseconds. Locks: none.
CREATE FUNCTION exchange.load_open_orders_v1(p_instrument_id integer) RETURNS TABLE (
    order_no bigint, order_id text, client_no bigint, client_id text, side text,
    price_ticks numeric, quantity_lots numeric, filled_lots numeric, filled_value numeric,
    status text, idempotency_key text, created_us bigint, updated_us bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT o.order_no, o.order_id, o.client_no, c.client_id, o.side::text,
           trunc(o.price * 100000000), trunc(o.quantity * 100000000),
           trunc(o.filled_quantity * 100000000), trunc(o.filled_value * 10000000000000000),
           o.status::text, coalesce(o.idempotency_key, ''),
           to_us(o.created_at), to_us(o.updated_at)
    FROM orders o JOIN clients c USING (client_no)
    WHERE o.instrument_id = p_instrument_id AND o.status IN ('open', 'partially_filled')
    ORDER BY o.order_no
$$;
