-- Note that somebody sends a dead letter again, before it is sent.
-- Arguments: instrument; stream entry id; who does it; whether one that was sent before may be sent
-- once more.
-- Result: its payload. Errors: EX005 when there is none, or it was sent before.
-- Locks: the letter's row.
CREATE FUNCTION exchange.redrive_dead_letter_v1(
    p_instrument text, p_stream_id text, p_actor text, p_again boolean
) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_letter dead_letters%ROWTYPE;
BEGIN
    SELECT d.* INTO v_letter FROM dead_letters d JOIN instruments i USING (instrument_id)
    WHERE i.instrument = p_instrument AND d.stream_id = p_stream_id FOR UPDATE OF d;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no dead letter %/%', p_instrument, p_stream_id
            USING ERRCODE = 'EX005';
    ELSIF v_letter.redriven_at IS NOT NULL AND NOT p_again THEN
        RAISE EXCEPTION 'dead letter %/% was sent again at % by %', p_instrument, p_stream_id,
            v_letter.redriven_at, v_letter.redriven_by USING ERRCODE = 'EX005';
    END IF;
    UPDATE dead_letters SET redriven_at = clock_timestamp(), redriven_by = p_actor
    WHERE instrument_id = v_letter.instrument_id AND stream_id = v_letter.stream_id;
    RETURN v_letter.payload;
END
$$;
