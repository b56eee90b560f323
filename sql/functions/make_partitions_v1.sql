-- Make the partitions that will be needed, before they are: a job's work. Should it be missed,
-- commit_batch and post_entry make what they need themselves.
-- Argument: how many ranges beyond the one in use each book shall have.
-- Result: a row per range made: book (0: the house's) and its first and last sequence.
-- Locks: as make_ranges, of the books that need one only, in ascending order.
CREATE FUNCTION exchange.make_partitions_v1(p_ahead integer)
RETURNS TABLE (instrument_id integer, first_sequence bigint, last_sequence bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_book record;
    v_last bigint;
BEGIN
    IF p_ahead IS NULL OR p_ahead NOT BETWEEN 0 AND 100 THEN
        RAISE EXCEPTION 'ahead must be 0 to 100' USING ERRCODE = 'EX005';
    END IF;
    FOR v_book IN
        SELECT 0 AS instrument_id, h.sequence FROM house_book h
        UNION ALL SELECT s.instrument_id, s.sequence FROM shard s
        ORDER BY instrument_id
    LOOP
        LOOP
            SELECT max(r.last_sequence) INTO v_last FROM partition_ranges r
            WHERE r.instrument_id = v_book.instrument_id;
            EXIT WHEN v_last >= v_book.sequence AND p_ahead <= (
                SELECT count(*) FROM partition_ranges r
                WHERE r.instrument_id = v_book.instrument_id
                  AND r.first_sequence > v_book.sequence);
            -- 0 when somebody else has just made it.
            PERFORM make_ranges_v1(v_book.instrument_id, coalesce(v_last + 1, 0));
            RETURN QUERY
            SELECT r.instrument_id, r.first_sequence, r.last_sequence FROM partition_ranges r
            WHERE r.instrument_id = v_book.instrument_id
              AND r.first_sequence = coalesce(v_last + 1, 0);
        END LOOP;
    END LOOP;
END
$$;
