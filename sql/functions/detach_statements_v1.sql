-- What the owner has to run, each outside of a transaction, so that the partitions of retired ranges
-- are tables of their own. Nobody waits for them: not the matchers and not who reads.
-- Result: statements, in the order in which to run them; none when all is done. Locks: none.
CREATE FUNCTION exchange.detach_statements_v1() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT format('ALTER TABLE exchange.%I DETACH PARTITION exchange.%I %s', book.relname,
                  leaf.relname, CASE WHEN h.inhdetachpending THEN 'FINALIZE' ELSE 'CONCURRENTLY' END)
    FROM partition_ranges r
    CROSS JOIN unnest(ARRAY['postings', 'ledger_entries', 'trades', 'order_events'])
        WITH ORDINALITY AS t(name, n)
    JOIN pg_class book ON book.oid = to_regclass(format('exchange.%I',
        format('%s_i%s', t.name, r.instrument_id)))
    JOIN pg_class leaf ON leaf.oid = to_regclass(format('exchange.%I',
        format('%s_i%s_s%s', t.name, r.instrument_id, r.first_sequence)))
    JOIN pg_inherits h ON h.inhrelid = leaf.oid AND h.inhparent = book.oid
    WHERE r.retired_at IS NOT NULL
    ORDER BY r.instrument_id, r.first_sequence, t.n
$$;
