-- A page of orders, newest first: by created_at, instrument number and order number, descending.
-- Arguments: client, instrument and statuses that are wanted, null for all; the page begins after
-- the order at this place (its time in microseconds, instrument number and order number; null: at
-- the newest); how many at most.
-- Result: as get_orders, and the instrument's number. An unknown client or instrument has no orders.
-- Locks: none. Of every instrument and status it reads p_limit rows at most, by an index that holds
-- them in order, wherever the page begins.
CREATE FUNCTION exchange.list_orders_v1(
    p_client_id text, p_instrument text, p_statuses text[],
    p_after_us bigint, p_after_instrument_id integer, p_after_order_no bigint, p_limit integer
) RETURNS TABLE (
    order_id text, order_no bigint, client_id text, instrument text, side text, type text,
    price_ticks numeric, quantity_lots numeric, filled_lots numeric, filled_value numeric,
    status text, status_reason text, idempotency_key text, created_us bigint, updated_us bigint,
    accepted_sequence bigint, instrument_id integer
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH bounds AS MATERIALIZED (
        -- Per instrument: only orders below this number come after the place.
        SELECT i.instrument_id, CASE
            WHEN p_after_us IS NULL THEN 9223372036854775807
            WHEN i.instrument_id = p_after_instrument_id THEN p_after_order_no
            WHEN i.instrument_id < p_after_instrument_id
                THEN last_order_at(i.instrument_id, from_us(p_after_us)) + 1
            ELSE last_order_at(i.instrument_id, from_us(p_after_us - 1)) + 1
        END AS order_no
        FROM instruments i WHERE p_instrument IS NULL OR i.instrument = p_instrument
    ), wanted AS MATERIALIZED (
        SELECT DISTINCT s.status FROM unnest(
            coalesce(p_statuses::order_status[], enum_range(NULL::order_status))) AS s(status)
    ), page AS (
        SELECT o.* FROM bounds b CROSS JOIN LATERAL (
            SELECT * FROM orders o
            WHERE p_client_id IS NULL AND p_statuses IS NULL
              AND o.instrument_id = b.instrument_id AND o.order_no < b.order_no
            ORDER BY o.order_no DESC LIMIT p_limit
        ) o
        UNION ALL
        SELECT o.* FROM bounds b CROSS JOIN wanted w CROSS JOIN LATERAL (
            SELECT * FROM orders o
            WHERE p_client_id IS NULL AND p_statuses IS NOT NULL
              AND o.instrument_id = b.instrument_id AND o.status = w.status
              AND o.order_no < b.order_no
            ORDER BY o.order_no DESC LIMIT p_limit
        ) o
        UNION ALL
        SELECT o.* FROM clients c CROSS JOIN bounds b CROSS JOIN wanted w CROSS JOIN LATERAL (
            SELECT * FROM orders o
            WHERE o.client_no = c.client_no AND o.status = w.status
              AND o.instrument_id = b.instrument_id AND o.order_no < b.order_no
            ORDER BY o.order_no DESC LIMIT p_limit
        ) o
        WHERE c.client_id = p_client_id
        ORDER BY created_at DESC, instrument_id DESC, order_no DESC LIMIT p_limit
    )
    SELECT o.order_id, o.order_no, c.client_id, i.instrument, o.side::text, o.type::text,
           coalesce(trunc(o.price * 100000000), 0), trunc(o.quantity * 100000000),
           trunc(o.filled_quantity * 100000000), trunc(o.filled_value * 10000000000000000),
           o.status::text, coalesce(o.status_reason, ''), coalesce(o.idempotency_key, ''),
           to_us(o.created_at), to_us(o.updated_at), o.sequence, o.instrument_id
    FROM page o
    JOIN clients c USING (client_no)
    JOIN instruments i USING (instrument_id)
    ORDER BY o.created_at DESC, o.instrument_id DESC, o.order_no DESC
$$;
