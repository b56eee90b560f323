-- Trigger on postings, whoever inserts them: every statement must leave each entry that it touches
-- balanced in each asset, and must leave no posting without its entry. Postings are never changed
-- nor deleted, so what each statement adds must balance by itself, and by induction every entry
-- balances at every commit. It runs at the end of the whole statement: one statement writes an
-- entry and its postings. Errors: EX003.
CREATE FUNCTION exchange.check_postings_v1() RETURNS trigger
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
    SELECT instrument_id, sequence, asset_id, sum(amount) AS amount INTO v_wrong
    FROM fresh GROUP BY instrument_id, sequence, asset_id HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry (%, %) does not balance: asset % is off by %',
            v_wrong.instrument_id, v_wrong.sequence, v_wrong.asset_id, v_wrong.amount
            USING ERRCODE = 'EX003';
    END IF;
    -- The bounds tell the planner which partitions matter.
    SELECT min(instrument_id) AS low, max(instrument_id) AS high,
           min(sequence) AS first, max(sequence) AS last INTO v_bounds FROM fresh;
    SELECT f.instrument_id, f.sequence INTO v_wrong
    FROM (SELECT DISTINCT instrument_id, sequence FROM fresh) f
    WHERE NOT EXISTS (
        SELECT FROM ledger_entries e
        WHERE e.instrument_id = f.instrument_id AND e.sequence = f.sequence
          AND e.instrument_id BETWEEN v_bounds.low AND v_bounds.high
          AND e.sequence BETWEEN v_bounds.first AND v_bounds.last
    ) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'postings without an entry: (%, %)', v_wrong.instrument_id, v_wrong.sequence
            USING ERRCODE = 'EX003';
    END IF;
    RETURN NULL;
END
$$;
