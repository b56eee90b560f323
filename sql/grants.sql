-- Who may call what. Idempotent: run at the end of every migration, as the owner.
REVOKE ALL ON ALL TABLES IN SCHEMA exchange FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA exchange, analytics FROM PUBLIC;

DO $$
DECLARE
    v_grant record;
BEGIN
    FOR v_grant IN
        SELECT g.role, p.oid::regprocedure AS function
        FROM (VALUES
            ('exchange_matcher', ARRAY[
                'acquire_shard_v1', 'acquire_shard_v2', 'renew_lease_v1', 'release_lease_v1',
                'free_shards_v1', 'release_lease_v2', 'report_matcher_v1', 'report_matcher_v2',
                'retire_matcher_v1',
                'load_open_orders_v1', 'read_events_v1', 'ensure_clients_v1',
                'find_first_orders_v1', 'commit_batch_v3', 'commit_batch_v4', 'list_instruments',
                'load_orders_v1', 'load_orders_v2', 'changed_orders_v1', 'list_engine_snapshots_v1',
                'load_snapshot_part_v1', 'discard_snapshots_v1']),
            ('exchange_edge', ARRAY[
                'get_orders_v1', 'get_order_trades_v2', 'get_trades_v2', 'find_first_orders_v1',
                'list_instruments', 'list_orders_v1', 'candles_v2', 'ticker_v2',
                'get_positions_v1', 'read_changes_v1', 'read_changed_orders_v1',
                'store_book_snapshot_v1', 'list_book_snapshots_v1', 'get_book_snapshot_v1',
                'list_overdue_v1', 'take_snapshot_v1', 'take_snapshot_v2', 'mirror_lags_v1',
                'current_timeline_v1', 'knows_client_v1', 'fees_earned_v1']),
            ('exchange_jobs', ARRAY[
                'settle_v1', 'make_partitions_v1', 'list_instruments',
                'register_jobs_v1', 'hint_due_v1', 'claim_run_v1', 'renew_run_v1', 'finish_run_v1',
                'unsettled_days_v1', 'list_statement_days_v1', 'statements_v1',
                'check_invariant', 'compare_depth_v1', 'read_state_v1',
                'recent_clients_v1', 'recent_fees_v1',
                'take_snapshot_v1', 'take_snapshot_v2', 'thin_snapshots_v1']),
            ('exchange_jobs', ARRAY[
                'begin_mirror_v1', 'store_mirror_offset_v1', 'end_mirror_v1', 'mirror_lags_v1',
                'mirrored_totals_v1', 'current_timeline_v1',
                'read_mirror_events_v1', 'read_mirror_orders_v1'])
        ) AS g(role, functions)
        JOIN pg_roles r ON r.rolname = g.role
        JOIN pg_proc p ON p.proname = ANY (g.functions)
        JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'exchange'
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA exchange TO %I', v_grant.role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', v_grant.function, v_grant.role);
    END LOOP;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'exchange_edge') THEN
        GRANT SELECT ON exchange.alembic_version TO exchange_edge;
    END IF;
    -- Analysts read, through functions that are documented, and nothing else. What bounds their
    -- sessions goes with each login: settings of a group do not apply to its members
    -- (`python -m ops analyst add`).
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'exchange_analyst') THEN
        GRANT USAGE ON SCHEMA analytics TO exchange_analyst;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO exchange_analyst;
        GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO exchange_analyst;
    END IF;
END
$$;
