-- Renew the lease of a run, and tell how far it is.
-- Arguments: the run; lease in milliseconds; done of total (null: nobody knows); what it does now.
-- Result: false when the run is not under way any more: it was taken for lost.
-- Locks: the run's row.
CREATE FUNCTION exchange.renew_run_v1(
    p_run_id bigint, p_lease_ms integer, p_done bigint, p_total bigint, p_detail text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    UPDATE job_runs
    SET lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond',
        done = p_done, total = p_total, detail = p_detail
    WHERE run_id = p_run_id AND outcome = 'running';
    RETURN FOUND;
END
$$;
