-- Give a partitioned table, or one of its partitions, the triggers that defend it. Each needs its
-- own: the triggers of statements fire for the table that the statement names, and for no other.
-- Arguments: the table's name; the name of the whole table, which says what to defend.
-- Locks: the table.
CREATE FUNCTION exchange.guard_table_v1(p_table text, p_whole text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1()', p_table);
    IF p_whole IN ('ledger_entries', 'postings') THEN
        EXECUTE format(
            'CREATE TRIGGER balanced AFTER INSERT ON exchange.%I REFERENCING NEW TABLE AS fresh '
            'FOR EACH STATEMENT EXECUTE FUNCTION exchange.%I()', p_table,
            CASE p_whole WHEN 'postings' THEN 'check_postings_v1' ELSE 'check_entries_v1' END);
    END IF;
END
$$;
