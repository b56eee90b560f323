-- End a run, and say when its job is due next, in one transaction: done, at its next time, or after
-- `again`; stopped, as before, which is now; failed, after a delay that doubles with each failure in
-- a row, and from the last retry on at its next time. What was asked for meanwhile stays due.
-- Old runs are deleted.
-- Arguments: the run; outcome; done of total; the result or the error; for a done run that has more
-- to do, in how many milliseconds it goes on, and how long no clock need send a hint (null: at its
-- next time); retries; first and longest delay in milliseconds; runs to keep.
-- Result: when it is due next; null when the run was taken for lost: then nothing has changed.
-- Locks: the job's row, then the run's.
CREATE FUNCTION exchange.finish_run_v1(
    p_run_id bigint, p_outcome text, p_done bigint, p_total bigint, p_detail text,
    p_again_ms integer, p_hint_ms integer, p_retries_max integer, p_delay_ms integer,
    p_delay_max_ms integer, p_runs_kept integer
) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_due job_due%ROWTYPE;
    v_run job_runs%ROWTYPE;
    v_now timestamptz;
    v_next timestamptz;
    v_retry timestamptz;
BEGIN
    SELECT d.* INTO v_due FROM job_due d
    JOIN job_runs r ON r.job = d.job AND r.subject = d.subject
    WHERE r.run_id = p_run_id FOR UPDATE OF d;
    v_now := clock_timestamp();
    UPDATE job_runs
    SET outcome = p_outcome, finished_at = v_now, done = p_done, total = p_total, detail = p_detail
    WHERE run_id = p_run_id AND outcome = 'running'
    RETURNING * INTO v_run;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- From its start on, so that a period stays one however long a run takes.
    v_next := greatest(next_due_v1(v_due.every_ms, v_due.daily_at, v_run.started_at), v_now);
    v_due.failures := CASE p_outcome
        WHEN 'failed' THEN v_due.failures + 1 WHEN 'stopped' THEN v_due.failures ELSE 0 END;
    v_retry := v_now + interval '1 millisecond'
        * least(p_delay_max_ms, p_delay_ms * 2 ^ least(v_due.failures - 1, 30));
    UPDATE job_due d
    SET due_at = CASE
            WHEN d.due_at > v_run.started_at OR p_outcome = 'stopped' THEN d.due_at
            WHEN p_outcome = 'failed' AND v_due.failures <= p_retries_max THEN v_retry
            WHEN p_outcome = 'failed' THEN greatest(v_next, v_retry)
            WHEN p_again_ms IS NOT NULL THEN v_now + p_again_ms * interval '1 millisecond'
            ELSE v_next
        END,
        hinted_until = CASE WHEN p_again_ms IS NULL THEN '-infinity'
            ELSE v_now + (p_again_ms + p_hint_ms) * interval '1 millisecond' END,
        failures = v_due.failures
    WHERE d.job = v_run.job AND d.subject = v_run.subject
    RETURNING d.due_at INTO v_next;
    DELETE FROM job_runs r
    WHERE r.job = v_run.job AND r.subject = v_run.subject AND r.run_id <= (
        SELECT o.run_id FROM job_runs o
        WHERE o.job = v_run.job AND o.subject = v_run.subject
        ORDER BY o.run_id DESC OFFSET p_runs_kept LIMIT 1);
    RETURN v_next;
END
$$;
