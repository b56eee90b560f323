-- Delete the snapshots of one instrument, depth and engine, that are newer than a sequence: after a
-- restore of older data they are of a history that is gone, and would be taken for the new one's.
-- Arguments: instrument number; the sequence that is committed, which must be final: the caller holds
-- the lease. Result: how many were deleted. Locks: the rows that go.
CREATE FUNCTION exchange.discard_snapshots_v1(p_instrument_id integer, p_after bigint)
RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
    WITH engines AS (
        DELETE FROM engine_snapshots
        WHERE instrument_id = p_instrument_id AND sequence > p_after RETURNING 1
    ), books AS (
        DELETE FROM book_snapshots
        WHERE instrument_id = p_instrument_id AND sequence > p_after RETURNING 1
    )
    SELECT (SELECT count(*) FROM engines) + (SELECT count(*) FROM books)
$$;
