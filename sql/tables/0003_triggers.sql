-- The database defends itself, also against a superuser in a hurry. These are the triggers of
-- statements aimed at a whole table; guard_table_v1 gives the same to each partition.

DROP FUNCTION exchange.check_balanced_v1;

SELECT exchange.guard_table_v1(name, name)
FROM unnest(ARRAY['trades', 'order_events', 'ledger_entries', 'postings']) AS name;

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['house_entries', 'settlement_runs', 'settlement_bounds',
                                   'settlement_clients', 'closing_balances'] LOOP
        EXECUTE format(
            'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange.%I '
            'FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1()', v_table);
    END LOOP;
END
$$;
