-- The settled day whose closing is nearest to a moment; null when now is nearer.
-- Argument: the moment. Locks: none.
CREATE FUNCTION exchange.nearest_closing_v1(p_at timestamptz) RETURNS date
LANGUAGE sql STABLE SET search_path = exchange, pg_temp AS $$
    SELECT n.day
    FROM (
        SELECT NULL::date AS day, abs(extract(epoch FROM statement_timestamp() - p_at)) AS away
        UNION ALL
        SELECT r.day, abs(extract(epoch FROM r.settled_at - p_at)) FROM settlement_runs r
    ) n
    ORDER BY n.away, n.day NULLS FIRST LIMIT 1
$$;
