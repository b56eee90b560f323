-- See to it that every job has its row, a job of the instruments one per instrument. New rows are
-- due at once; rows whose period has changed are due at the earlier of both times.
-- Arguments: per job its name, whether it is one of the instruments, and its period: milliseconds,
-- or the time of the day.
-- Result: how many rows were added or changed. Locks: the rows that it changes.
CREATE FUNCTION exchange.register_jobs_v1(
    p_jobs text[], p_per_instrument boolean[], p_every_ms integer[], p_daily_at time[]
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    WITH wanted AS (
        SELECT u.job, coalesce(i.instrument, '') AS subject, u.every_ms, u.daily_at
        FROM unnest(p_jobs, p_per_instrument, p_every_ms, p_daily_at)
            AS u(job, per_instrument, every_ms, daily_at)
        LEFT JOIN instruments i ON u.per_instrument
        WHERE i.instrument IS NOT NULL OR NOT u.per_instrument
    ), changed AS (
        INSERT INTO job_due AS d (job, subject, every_ms, daily_at, due_at)
        SELECT w.job, w.subject, w.every_ms, w.daily_at, clock_timestamp()
        FROM wanted w
        LEFT JOIN job_due known USING (job, subject)
        -- So that there is nothing to lock when there is nothing to do, which is nearly always.
        WHERE (known.every_ms, known.daily_at) IS DISTINCT FROM (w.every_ms, w.daily_at)
        ORDER BY w.job, w.subject
        ON CONFLICT (job, subject) DO UPDATE
        SET every_ms = excluded.every_ms, daily_at = excluded.daily_at,
            due_at = least(d.due_at, next_due_v1(
                excluded.every_ms, excluded.daily_at, clock_timestamp()))
        RETURNING 1
    )
    SELECT count(*) FROM changed
$$;
