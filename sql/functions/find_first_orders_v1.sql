-- Orders that already hold a name which a new command uses: its order_id (unique in the exchange)
-- or its idempotency key (unique per client and instrument).
-- Arguments: instrument number; order ids; and, in parallel, client ids and keys.
-- Result: the terms of each such order, amounts in units of 1e-8. Locks: none.
CREATE FUNCTION exchange.find_first_orders_v1(
    p_instrument_id integer, p_order_ids text[], p_client_ids text[], p_keys text[]
) RETURNS TABLE (
    order_id text, client_id text, instrument text, side text, type text,
    price_ticks numeric, quantity_lots numeric, idempotency_key text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
-- Always by index: a plan made while the table was small must not turn into a scan later.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH found AS (
        SELECT o.instrument_id, o.order_no
        FROM unnest(p_order_ids) AS u(order_id) JOIN orders o ON o.order_id = u.order_id
        UNION
        SELECT o.instrument_id, o.order_no
        FROM unnest(p_client_ids, p_keys) AS u(client_id, key)
        JOIN clients c ON c.client_id = u.client_id
        JOIN orders o ON o.client_no = c.client_no AND o.instrument_id = p_instrument_id
                     AND o.idempotency_key = u.key AND o.idempotency_key IS NOT NULL
    )
    SELECT o.order_id, c.client_id, i.instrument, o.side::text, o.type::text,
           coalesce(trunc(o.price * 100000000), 0), trunc(o.quantity * 100000000),
           coalesce(o.idempotency_key, '')
    FROM found
    JOIN orders o USING (instrument_id, order_no)
    JOIN clients c USING (client_no)
    JOIN instruments i USING (instrument_id)
$$;
