-- Take back 0004: no data is in what it made.
DROP VIEW analytics.functions;

DO $$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid::regprocedure FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'analytics'
           OR (n.nspname = 'exchange' AND p.proname IN (
               'divide_half_even', 'mark_price_v1', 'best_level_v1', 'find_instrument_v1',
               'find_client_v1', 'check_range_v1', 'check_history_v1', 'last_sequence_at_v1',
               'book_changes_v1', 'book_at_v1', 'book_depth_v1',
               'nearest_closing_v1', 'balance_windows_v1', 'settlement_windows_v1',
               'client_movements_v1', 'book_totals_v1', 'balances_at_v1'))
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END
$$;

DROP TYPE exchange.book_window, exchange.book_level;
DROP INDEX exchange.orders_resting_price, exchange.postings_i0_client, exchange.house_entries_time;
