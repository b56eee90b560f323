-- Take what is due and that no worker runs or was told of: the caller tells the workers. Two clocks
-- never get the same row. What was told is given out again after the hint's time, should the
-- message have been lost.
-- Arguments: the jobs that the caller knows; how long a hint lasts in milliseconds; rows at most.
-- Result: job and subject, what is longest due first. Locks: the rows it takes; skips locked ones.
CREATE FUNCTION exchange.hint_due_v1(p_jobs text[], p_hint_ms integer, p_limit integer)
RETURNS TABLE (job text, subject text)
LANGUAGE sql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    WITH taken AS (
        SELECT d.job, d.subject FROM job_due d
        WHERE d.job = ANY (p_jobs)
          AND d.due_at <= clock_timestamp() AND d.hinted_until <= clock_timestamp()
          AND NOT EXISTS (
              SELECT FROM job_runs r
              WHERE r.job = d.job AND r.subject = d.subject
                AND r.outcome = 'running' AND r.lease_until > clock_timestamp())
        ORDER BY d.due_at
        LIMIT p_limit
        FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE job_due d
    SET hinted_until = clock_timestamp() + p_hint_ms * interval '1 millisecond'
    FROM taken t WHERE d.job = t.job AND d.subject = t.subject
    RETURNING d.job, d.subject
$$;
