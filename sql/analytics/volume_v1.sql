CREATE FUNCTION analytics.volume(
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now(),
    p_by text DEFAULT 'instrument', p_instrument text DEFAULT NULL
) RETURNS TABLE (
    instrument text, client_id text, day date, volume numeric, quote_volume numeric,
    trade_count bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_instrument_id integer;
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    IF p_by IS NULL OR p_by NOT IN ('instrument', 'client', 'day') THEN
        RAISE EXCEPTION 'volume is by instrument, client or day' USING ERRCODE = '22023';
    END IF;
    IF p_instrument IS NOT NULL THEN
        v_instrument_id := (find_instrument_v1(p_instrument)).instrument_id;
    END IF;
    IF p_by = 'client' THEN
        RETURN QUERY
        SELECT i.instrument, c.client_id, NULL::date, trim_scale(sum(p.quantity)),
               trim_scale(sum(p.value)), sum(p.n)::bigint
        FROM (
            -- By pair first: pairs are few, trades are many.
            SELECT t.instrument_id, t.maker_client_no AS maker, t.taker_client_no AS taker,
                   sum(t.quantity) AS quantity, sum(t.price * t.quantity) AS value, count(*) AS n
            FROM instruments i JOIN trades t USING (instrument_id)
            WHERE (v_instrument_id IS NULL OR i.instrument_id = v_instrument_id)
              AND t.traded_at >= p_from AND t.traded_at < p_to
            GROUP BY 1, 2, 3
        ) p
        CROSS JOIN LATERAL (
            SELECT p.maker AS client_no UNION ALL SELECT p.taker WHERE p.taker <> p.maker) l
        JOIN instruments i USING (instrument_id)
        JOIN clients c USING (client_no)
        GROUP BY i.instrument_id, i.instrument, c.client_id
        ORDER BY i.instrument_id, sum(p.value) DESC, c.client_id;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT i.instrument, NULL, s.day, trim_scale(s.quantity), trim_scale(s.value), s.n
    FROM (
        SELECT t.instrument_id,
               CASE p_by WHEN 'day' THEN (t.traded_at AT TIME ZONE 'UTC')::date END AS day,
               sum(t.quantity) AS quantity, sum(t.price * t.quantity) AS value, count(*) AS n
        FROM instruments i JOIN trades t USING (instrument_id)
        WHERE (v_instrument_id IS NULL OR i.instrument_id = v_instrument_id)
          AND t.traded_at >= p_from AND t.traded_at < p_to
        GROUP BY 1, 2
    ) s
    JOIN instruments i USING (instrument_id)
    ORDER BY i.instrument_id, s.day;
END
$$;
COMMENT ON FUNCTION analytics.volume IS $$
How much was traded. Always by instrument, because assets do not add up; further by client or by day
on request.

Arguments
  p_from        from this time on; default 24 hours ago
  p_to          up to but not including this time; default now
  p_by          instrument (the default), client or day
  p_instrument  only this instrument; default all

Columns
  instrument    the instrument
  client_id     by client: the client; a trade counts for both of its sides, but once for a client
                that traded with itself; else null
  day           by day: the day, UTC; else null
  volume        base asset traded
  quote_volume  quote asset paid for it, exact
  trade_count   number of trades

Example
  SELECT day, quote_volume FROM analytics.volume(now() - interval '7 days', p_by => 'day');
$$;
