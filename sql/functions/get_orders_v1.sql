-- Look orders up by their public ids.
-- Argument: order ids. Result: one row per order found, in no particular order; amounts in units
-- of 1e-8, filled_value in 1e-16, times in microseconds; accepted_sequence is the sequence of its
-- first event, after which its trades as a taker follow. Locks: none.
CREATE FUNCTION exchange.get_orders_v1(p_order_ids text[]) RETURNS TABLE (
    order_id text, order_no bigint, client_id text, instrument text, side text, type text,
    price_ticks numeric, quantity_lots numeric, filled_lots numeric, filled_value numeric,
    status text, status_reason text, idempotency_key text, created_us bigint, updated_us bigint,
    accepted_sequence bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT o.order_id, o.order_no, c.client_id, i.instrument, o.side::text, o.type::text,
           coalesce(trunc(o.price * 100000000), 0), trunc(o.quantity * 100000000),
           trunc(o.filled_quantity * 100000000), trunc(o.filled_value * 10000000000000000),
           o.status::text, coalesce(o.status_reason, ''), coalesce(o.idempotency_key, ''),
           to_us(o.created_at), to_us(o.updated_at), o.sequence
    FROM unnest(p_order_ids) AS u(order_id)
    JOIN orders o ON o.order_id = u.order_id
    JOIN clients c USING (client_no)
    JOIN instruments i USING (instrument_id)
$$;
