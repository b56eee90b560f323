-- For how long each job has been due without a run: what tells that no clock or no worker runs.
-- Result: job; seconds since the longest due of its subjects that nobody runs, 0 for none; runs
-- under way; failures in a row of its worst subject. Locks: none.
CREATE FUNCTION exchange.list_overdue_v1()
RETURNS TABLE (job text, overdue_seconds double precision, running bigint, failures integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT d.job,
           coalesce(max(extract(epoch FROM clock_timestamp() - d.due_at)) FILTER (
               WHERE r.run_id IS NULL AND d.due_at < clock_timestamp()), 0)::double precision,
           count(r.run_id), max(d.failures)
    FROM job_due d
    LEFT JOIN job_runs r ON r.job = d.job AND r.subject = d.subject
        AND r.outcome = 'running' AND r.lease_until > clock_timestamp()
    GROUP BY d.job ORDER BY d.job
$$;
