-- Take back 0005: what it kept is about runs that are over, and clocks make what is due anew.
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = 'exchange'::regnamespace AND p.proname IN (
            'next_due_v1', 'register_jobs_v1', 'hint_due_v1', 'claim_run_v1', 'renew_run_v1',
            'finish_run_v1', 'make_due_v1', 'list_jobs_v1', 'list_overdue_v1',
            'check_invariant', 'unsettled_days_v1', 'list_statement_days_v1', 'statements_v1',
            'compare_depth_v1', 'read_state_v1', 'list_dead_letters_v1', 'redrive_dead_letter_v1')
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END
$$;
DROP TABLE exchange.job_runs, exchange.job_due;
ALTER TABLE exchange.dead_letters DROP COLUMN redriven_at, DROP COLUMN redriven_by;
COMMENT ON TABLE exchange.dead_letters IS
    'Stream entries that could not be applied, kept whole. They changed nothing else.';
