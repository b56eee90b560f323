-- Made anew at every migration from sql/invariants.sql, as analytics.verify() is: one invariant at a
-- time, for a job that tells how far it is and can be stopped in between.
-- Argument: its name. Result: the offending rows as JSON. Errors: EX005 for a name that is none.
-- Locks: none.
CREATE OR REPLACE FUNCTION exchange.check_invariant(p_invariant text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $check$
#variable_conflict use_column
BEGIN
    CASE p_invariant
    -- :each
    WHEN ':name' THEN
        RETURN QUERY SELECT to_jsonb(broken)::text FROM (:query) AS broken;
    -- :end
    ELSE
        RAISE EXCEPTION 'there is no invariant % (:names)', p_invariant USING ERRCODE = 'EX005';
    END CASE;
END
$check$;
