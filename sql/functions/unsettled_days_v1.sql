-- The days that are over (UTC) and not settled, oldest first: those after the last settled one; when
-- none is settled yet, from the day of the first trade on, or yesterday alone.
-- Result: days. Locks: none.
CREATE FUNCTION exchange.unsettled_days_v1() RETURNS SETOF date
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_yesterday date := (clock_timestamp() AT TIME ZONE 'UTC')::date - 1;
    v_first date;
BEGIN
    v_first := (SELECT max(r.day) + 1 FROM settlement_runs r);
    IF v_first IS NULL THEN
        SELECT min((t.traded_at AT TIME ZONE 'UTC')::date) INTO v_first
        FROM instruments i
        CROSS JOIN LATERAL (SELECT u.traded_at FROM trades u
                            WHERE u.instrument_id = i.instrument_id
                            ORDER BY u.sequence LIMIT 1) t;
    END IF;
    RETURN QUERY
    SELECT d::date FROM generate_series(
        coalesce(v_first, v_yesterday)::timestamp, v_yesterday::timestamp, '1 day') d;
END
$$;
