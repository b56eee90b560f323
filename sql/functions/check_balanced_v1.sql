-- Trigger on postings: every statement that inserts some must leave each entry balanced in each
-- asset, whoever inserts them. Errors: EX003.
CREATE FUNCTION exchange.check_balanced_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = exchange, pg_temp AS $$
DECLARE
    v_unbalanced record;
BEGIN
    SELECT instrument_id, sequence, asset_id, sum(amount) AS amount INTO v_unbalanced
    FROM fresh GROUP BY instrument_id, sequence, asset_id HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry (%, %) does not balance: asset % is off by %',
            v_unbalanced.instrument_id, v_unbalanced.sequence,
            v_unbalanced.asset_id, v_unbalanced.amount
            USING ERRCODE = 'EX003';
    END IF;
    RETURN NULL;
END
$$;
