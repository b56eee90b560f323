-- Make a job due now.
-- Arguments: job; subject, or null for all of them; for how long in milliseconds no clock need send
-- a hint, because the caller does.
-- Result: the subjects, and for each the last run that began before. Errors: EX005 when there is no
-- such job or subject. Locks: the job's rows.
CREATE FUNCTION exchange.make_due_v1(p_job text, p_subject text, p_hint_ms integer)
RETURNS TABLE (subject text, last_run_id bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    UPDATE job_due d
    SET due_at = clock_timestamp(),
        hinted_until = clock_timestamp() + p_hint_ms * interval '1 millisecond'
    WHERE d.job = p_job AND (p_subject IS NULL OR d.subject = p_subject)
    RETURNING d.subject, coalesce((SELECT max(r.run_id) FROM job_runs r
                                   WHERE r.job = d.job AND r.subject = d.subject), 0);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no job %; there are: %',
            trim(concat_ws(' ', p_job, p_subject)),
            coalesce((SELECT string_agg(trim(concat_ws(' ', d.job, d.subject)), ', '
                                        ORDER BY d.job, d.subject) FROM job_due d),
                     'none yet, a clock makes them')
            USING ERRCODE = 'EX005';
    END IF;
END
$$;
