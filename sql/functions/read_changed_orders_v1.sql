-- What happened in one instrument after a sequence: the orders, as they stand now. See read_changes.
-- Arguments: instrument number; the last sequence known; how many events at most.
-- Result: one row per order that an event after p_after touched, by the sequence of the last one
-- (changed_sequence; a trade touches two); the rest as in get_orders. No row when more than p_limit
-- events have happened. Locks: none.
CREATE FUNCTION exchange.read_changed_orders_v1(
    p_instrument_id integer, p_after bigint, p_limit integer
) RETURNS TABLE (
    changed_sequence bigint,
    order_id text, order_no bigint, client_id text, instrument text, side text, type text,
    price_ticks numeric, quantity_lots numeric, filled_lots numeric, filled_value numeric,
    status text, status_reason text, idempotency_key text, created_us bigint, updated_us bigint,
    accepted_sequence bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH touched AS (
        SELECT e.order_no, max(e.sequence) AS sequence
        FROM shard s
        CROSS JOIN LATERAL (
            SELECT e.order_no, e.sequence FROM order_events e
            WHERE e.instrument_id = s.instrument_id AND e.sequence > p_after
              AND s.sequence - p_after <= p_limit
            UNION ALL
            SELECT unnest(ARRAY[t.maker_order_no, t.taker_order_no]), t.sequence FROM trades t
            WHERE t.instrument_id = s.instrument_id AND t.sequence > p_after
              AND s.sequence - p_after <= p_limit
        ) e
        WHERE s.instrument_id = p_instrument_id
        GROUP BY e.order_no
    )
    SELECT t.sequence, o.order_id, o.order_no, c.client_id, i.instrument, o.side::text,
           o.type::text, coalesce(trunc(o.price * 100000000), 0), trunc(o.quantity * 100000000),
           trunc(o.filled_quantity * 100000000), trunc(o.filled_value * 10000000000000000),
           o.status::text, coalesce(o.status_reason, ''), coalesce(o.idempotency_key, ''),
           to_us(o.created_at), to_us(o.updated_at), o.sequence
    FROM touched t
    JOIN orders o ON o.instrument_id = p_instrument_id AND o.order_no = t.order_no
    JOIN clients c USING (client_no)
    JOIN instruments i USING (instrument_id)
    ORDER BY t.sequence, o.order_no
$$;
