CREATE FUNCTION analytics.active_clients(
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now(),
    p_interval interval DEFAULT '1 hour'
) RETURNS TABLE (
    start_time timestamptz, active_clients bigint, ordering_clients bigint, trading_clients bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    -- A Monday, so that weeks begin with one.
    c_origin CONSTANT timestamptz := '2001-01-01 00:00:00+00';
    v_seconds numeric := extract(epoch FROM p_interval);
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    IF v_seconds IS NULL OR v_seconds < 60
       OR extract(month FROM p_interval) <> 0 OR extract(year FROM p_interval) <> 0
       OR (86400 % v_seconds <> 0 AND v_seconds % 86400 <> 0) THEN
        RAISE EXCEPTION 'the interval % neither divides a day nor is whole days', p_interval
            USING ERRCODE = '22023', HINT = 'Such as 5 minutes, 1 hour, 1 day, 7 days.';
    END IF;
    RETURN QUERY
    SELECT a.start, count(DISTINCT a.client_no),
           count(DISTINCT a.client_no) FILTER (WHERE a.ordering),
           count(DISTINCT a.client_no) FILTER (WHERE NOT a.ordering)
    FROM (
        SELECT DISTINCT date_bin(p_interval, o.created_at, c_origin) AS start, o.client_no,
               true AS ordering
        FROM (
            SELECT i.instrument_id, last_order_at(i.instrument_id, p_from - interval '1 microsecond')
                       AS after,
                   last_order_at(i.instrument_id, p_to - interval '1 microsecond') AS last
            FROM instruments i
        ) b
        JOIN orders o ON o.instrument_id = b.instrument_id
                     AND o.order_no > b.after AND o.order_no <= b.last
        UNION ALL
        SELECT DISTINCT p.start, l.client_no, false
        FROM (
            SELECT date_bin(p_interval, t.traded_at, c_origin) AS start,
                   t.maker_client_no AS maker, t.taker_client_no AS taker
            FROM instruments i JOIN trades t USING (instrument_id)
            WHERE t.traded_at >= p_from AND t.traded_at < p_to
            GROUP BY 1, 2, 3
        ) p
        CROSS JOIN LATERAL (VALUES (p.maker), (p.taker)) AS l(client_no)
    ) a
    GROUP BY a.start
    ORDER BY a.start;
END
$$;
COMMENT ON FUNCTION analytics.active_clients IS $$
How many different clients were there, by intervals of time.

Arguments
  p_from      from this time on; default 24 hours ago
  p_to        up to but not including this time; default now
  p_interval  length of an interval, default 1 hour: what divides a day, or whole days; aligned to
              midnight UTC, weeks to Mondays

Columns (a row per interval in which there was anybody, oldest first)
  start_time        when the interval begins
  active_clients    clients that sent an order or traded
  ordering_clients  clients that sent an order, rejected ones included
  trading_clients   clients that traded, also with orders sent earlier

Example
  SELECT * FROM analytics.active_clients(now() - interval '7 days', p_interval => '1 day');
$$;
