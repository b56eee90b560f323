-- Begin a run of what is due, unless somebody runs it. A run whose lease has run out is lost.
-- Arguments: job; subject; the owner's name, unique per process; lease in milliseconds.
-- Result: the run's number, or null when there is nothing to do: not due, or run by another.
-- Locks: the job's row, then its running run.
CREATE FUNCTION exchange.claim_run_v1(
    p_job text, p_subject text, p_owner text, p_lease_ms integer
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_due_at timestamptz;
    v_now timestamptz;
    v_run_id bigint;
BEGIN
    SELECT d.due_at INTO v_due_at FROM job_due d
    WHERE d.job = p_job AND d.subject = p_subject FOR UPDATE;
    v_now := clock_timestamp();
    IF NOT FOUND OR v_due_at > v_now THEN
        RETURN NULL;
    END IF;
    UPDATE job_runs r SET outcome = 'lost', finished_at = v_now
    WHERE r.job = p_job AND r.subject = p_subject AND r.outcome = 'running'
      AND r.lease_until <= v_now;
    IF EXISTS (SELECT FROM job_runs r
               WHERE r.job = p_job AND r.subject = p_subject AND r.outcome = 'running') THEN
        RETURN NULL;
    END IF;
    INSERT INTO job_runs (job, subject, owner, started_at, lease_until)
    VALUES (p_job, p_subject, p_owner, v_now, v_now + p_lease_ms * interval '1 millisecond')
    RETURNING run_id INTO v_run_id;
    RETURN v_run_id;
END
$$;
