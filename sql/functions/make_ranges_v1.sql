-- Make partitions of one book until a sequence has its place. They are made apart and attached,
-- which waits neither for readers nor for writers of the whole table, nor they for it.
-- Arguments: instrument number, or 0 for the house's book; the sequence.
-- Result: how many ranges were made. Locks: the book's row (shard or house_book), so that a range
-- is made once; the new tables; their parents against other changes of their shape.
CREATE FUNCTION exchange.make_ranges_v1(p_instrument_id integer, p_sequence bigint)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_first bigint;
    v_last bigint;
    v_made integer := 0;
    v_whole text;
    v_book text;
    v_leaf text;
BEGIN
    IF p_instrument_id = 0 THEN
        PERFORM FROM house_book FOR UPDATE;
    ELSE
        PERFORM FROM shard WHERE instrument_id = p_instrument_id FOR UPDATE;
    END IF;
    LOOP
        v_first := 1 + (SELECT max(r.last_sequence) FROM partition_ranges r
                        WHERE r.instrument_id = p_instrument_id);
        EXIT WHEN v_first > p_sequence;
        v_first := coalesce(v_first, 0);
        v_last := v_first - 1 + (SELECT range_length FROM settings);
        FOREACH v_whole IN ARRAY CASE p_instrument_id
            WHEN 0 THEN ARRAY['ledger_entries', 'postings']
            ELSE ARRAY['trades', 'order_events', 'ledger_entries', 'postings']
        END LOOP
            v_book := format('%s_i%s', v_whole, p_instrument_id);
            v_leaf := format('%s_s%s', v_book, v_first);
            IF v_first = 0 THEN
                EXECUTE format(
                    'CREATE TABLE exchange.%I (LIKE exchange.%I INCLUDING ALL) '
                    'PARTITION BY RANGE (sequence)', v_book, v_whole);
                PERFORM guard_table_v1(v_book, v_whole);
                EXECUTE format('ALTER TABLE exchange.%I ATTACH PARTITION exchange.%I '
                               'FOR VALUES IN (%s)', v_whole, v_book, p_instrument_id);
            END IF;
            EXECUTE format('CREATE TABLE exchange.%I (LIKE exchange.%I INCLUDING ALL)',
                           v_leaf, v_book);
            PERFORM guard_table_v1(v_leaf, v_whole);
            EXECUTE format('ALTER TABLE exchange.%I ATTACH PARTITION exchange.%I '
                           'FOR VALUES FROM (%s) TO (%s)', v_book, v_leaf, v_first, v_last + 1);
        END LOOP;
        INSERT INTO partition_ranges VALUES (p_instrument_id, v_first, v_last);
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END
$$;
