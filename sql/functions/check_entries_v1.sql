-- Trigger on ledger_entries, whoever inserts them: no entry without postings. One is enough to look
-- for: none is of zero and each asset sums to zero (check_postings), so there are two at least.
-- It runs at the end of the whole statement: one statement writes an entry and its postings.
-- Errors: EX003.
CREATE FUNCTION exchange.check_entries_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = exchange, pg_temp
-- One pass over the range of sequences, by its index: looking each up costs three times as much.
SET enable_seqscan = off SET enable_nestloop = off SET enable_hashjoin = on
SET enable_mergejoin = off
-- Plans of few partitions are kept, plans of many are made for those that are needed.
SET plan_cache_mode = auto
AS $$
DECLARE
    v_wrong record;
    v_bounds record;
BEGIN
    -- The bounds tell the planner which partitions matter.
    SELECT min(instrument_id) AS low, max(instrument_id) AS high,
           min(sequence) AS first, max(sequence) AS last INTO v_bounds FROM fresh;
    SELECT f.instrument_id, f.sequence INTO v_wrong
    FROM fresh f
    WHERE NOT EXISTS (
        SELECT FROM postings p
        WHERE p.instrument_id = f.instrument_id AND p.sequence = f.sequence
          AND p.instrument_id BETWEEN v_bounds.low AND v_bounds.high
          AND p.sequence BETWEEN v_bounds.first AND v_bounds.last
    ) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry (%, %) has no postings', v_wrong.instrument_id, v_wrong.sequence
            USING ERRCODE = 'EX003';
    END IF;
    RETURN NULL;
END
$$;
