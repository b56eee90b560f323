-- Trigger: refuse to change an append-only table, whoever asks. Errors: EX004.
CREATE FUNCTION exchange.refuse_change_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = exchange, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'EX004', HINT = 'What happened is never edited: record a correction.';
END
$$;
