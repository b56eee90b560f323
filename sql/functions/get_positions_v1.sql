-- A client's positions, also those that are flat again, by instrument number.
-- Argument: client. Result: quantities and prices in units of 1e-8, cost and realized profit in
-- 1e-16, the time of the last fill in microseconds; last_ticks is the price of the instrument's last
-- trade, if any. An unknown client has no row. Locks: none.
CREATE FUNCTION exchange.get_positions_v1(p_client_id text) RETURNS TABLE (
    instrument text, net_lots numeric, total_cost numeric, realized_pnl numeric,
    updated_us bigint, last_ticks numeric
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT i.instrument, trunc(p.net_quantity * 100000000),
           trunc(p.total_cost * 10000000000000000), trunc(p.realized_pnl * 10000000000000000),
           to_us(p.updated_at), trunc(l.price * 100000000)
    FROM clients c
    CROSS JOIN instruments i
    JOIN positions p ON p.instrument_id = i.instrument_id AND p.client_no = c.client_no
    LEFT JOIN LATERAL (
        SELECT t.price FROM trades t WHERE t.instrument_id = i.instrument_id
        ORDER BY t.sequence DESC LIMIT 1
    ) l ON true
    WHERE c.client_id = p_client_id
    ORDER BY i.instrument_id
$$;
