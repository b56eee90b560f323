-- Every job and subject: its period, when it is due, and its last run.
-- Result: state is running, due or waiting; a running run whose lease has run out is lost.
-- Times are null, and numbers and texts of the run, when it never ran. Locks: none.
CREATE FUNCTION exchange.list_jobs_v1() RETURNS TABLE (
    job text, subject text, every_ms integer, daily_at time, due_at timestamptz, failures integer,
    run_id bigint, started_at timestamptz, seconds numeric, outcome text,
    done bigint, total bigint, detail text, owner text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT d.job, d.subject, d.every_ms, d.daily_at, d.due_at, d.failures, r.run_id, r.started_at,
           round(extract(epoch FROM
               coalesce(r.finished_at, clock_timestamp()) - r.started_at)::numeric, 1),
           CASE WHEN r.outcome = 'running' AND r.lease_until <= clock_timestamp() THEN 'lost'
                ELSE r.outcome END,
           r.done, r.total, r.detail, r.owner
    FROM job_due d
    LEFT JOIN LATERAL (
        SELECT o.* FROM job_runs o WHERE o.job = d.job AND o.subject = d.subject
        ORDER BY o.run_id DESC LIMIT 1
    ) r ON true
    ORDER BY d.job, d.subject
$$;
