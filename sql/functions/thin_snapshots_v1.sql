-- Let old snapshots of one instrument go.
-- Engine snapshots: the newest p_kept stay. Depth snapshots thin out with age: all of the last day
-- stay, then the first of each hour, after 30 days the first of each day (UTC). The first of each
-- range of partitions stays, too, so that books can still be rebuilt when the ranges before it are
-- detached; and the newest.
-- Arguments: instrument number; how many engine snapshots to keep; how many rows to delete at most.
-- Result: how many were deleted; fewer than p_limit: it is done. Locks: the rows that go.
CREATE FUNCTION exchange.thin_snapshots_v1(
    p_instrument_id integer, p_kept integer, p_limit integer
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
    WITH engines AS (
        DELETE FROM engine_snapshots e
        USING (SELECT sequence FROM engine_snapshots WHERE instrument_id = p_instrument_id
               ORDER BY sequence DESC OFFSET greatest(p_kept, 1) LIMIT p_limit) old
        WHERE e.instrument_id = p_instrument_id AND e.sequence = old.sequence
        RETURNING 1
    ), books AS (
        DELETE FROM book_snapshots b
        USING (
            SELECT snapshot_id
            FROM (
                SELECT snapshot_id, taken_at,
                       row_number() OVER (
                           PARTITION BY first_sequence, date_trunc(
                               CASE WHEN taken_at < now() - interval '30 days' THEN 'day'
                                    ELSE 'hour' END, taken_at, 'UTC')
                           ORDER BY sequence) AS place,
                       row_number() OVER (ORDER BY sequence DESC) AS place_from_newest
                FROM (
                    SELECT k.snapshot_id, k.sequence, k.taken_at,
                           (SELECT r.first_sequence FROM partition_ranges r
                            WHERE r.instrument_id = p_instrument_id
                              AND r.first_sequence <= k.sequence
                            ORDER BY r.first_sequence DESC LIMIT 1) AS first_sequence
                    FROM book_snapshots k WHERE k.instrument_id = p_instrument_id
                ) k
            ) ranked
            WHERE place > 1 AND place_from_newest > 1 AND taken_at < now() - interval '1 day'
            LIMIT p_limit
        ) old
        WHERE b.snapshot_id = old.snapshot_id
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM engines) + (SELECT count(*) FROM books)
$$;
