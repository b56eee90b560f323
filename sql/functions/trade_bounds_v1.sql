-- The sequences between which an instrument's trades of a time are, as wide as whole partitions: for
-- the planner, which then leaves the others out. Times never decrease along sequences.
-- Arguments: instrument number; from (inclusive) and to (exclusive).
-- Result: first and last sequence, null when there are no partitions. Locks: none.
CREATE FUNCTION exchange.trade_bounds_v1(
    p_instrument_id integer, p_from timestamptz, p_to timestamptz,
    OUT first_sequence bigint, OUT last_sequence bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_range record;
    v_began timestamptz;
BEGIN
    FOR v_range IN
        SELECT r.first_sequence, r.last_sequence
        FROM partition_ranges r
        WHERE r.instrument_id = p_instrument_id
          AND r.first_sequence <= 1 + (SELECT s.sequence FROM shard s
                                       WHERE s.instrument_id = p_instrument_id)
        ORDER BY r.first_sequence DESC
    LOOP
        v_began := (SELECT t.traded_at FROM trades t
                    WHERE t.instrument_id = p_instrument_id
                      AND t.sequence BETWEEN v_range.first_sequence AND v_range.last_sequence
                    ORDER BY t.sequence LIMIT 1);
        IF last_sequence IS NULL OR v_began >= p_to THEN
            last_sequence := v_range.last_sequence;
        END IF;
        first_sequence := v_range.first_sequence;
        EXIT WHEN v_began < p_from;
    END LOOP;
END
$$;
