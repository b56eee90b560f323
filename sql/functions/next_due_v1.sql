-- When a job is due next.
-- Arguments: either milliseconds between runs, or a time of the day (UTC); the moment after which.
-- Result: that many milliseconds later, or the next such time of a day. Locks: none.
CREATE FUNCTION exchange.next_due_v1(p_every_ms integer, p_daily_at time, p_after timestamptz)
RETURNS timestamptz
LANGUAGE sql IMMUTABLE SET search_path = exchange, pg_temp AS $$
    SELECT CASE
        WHEN p_every_ms IS NOT NULL THEN p_after + p_every_ms * interval '1 millisecond'
        WHEN d.today > p_after THEN d.today
        ELSE d.today + interval '24 hours'
    END
    FROM (SELECT ((p_after AT TIME ZONE 'UTC')::date + p_daily_at) AT TIME ZONE 'UTC' AS today) d
$$;
