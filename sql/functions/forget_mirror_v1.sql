-- Forget that an instrument was mirrored: nothing waits for the mirror any more, and the next one
-- begins with the oldest event there is.
-- Argument: instrument. Result: false when there was nothing to forget.
-- Errors: EX012 while a mirror is at work. Locks: the row of mirror_offsets.
CREATE FUNCTION exchange.forget_mirror_v1(p_instrument text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_offset mirror_offsets%ROWTYPE;
BEGIN
    SELECT m.* INTO v_offset
    FROM mirror_offsets m JOIN instruments i USING (instrument_id)
    WHERE i.instrument = p_instrument FOR UPDATE OF m;
    IF v_offset.owner IS NOT NULL AND v_offset.lease_until > clock_timestamp() THEN
        RAISE EXCEPTION 'a mirror of % is at work: stop it first', p_instrument
            USING ERRCODE = 'EX012';
    END IF;
    DELETE FROM mirror_offsets WHERE instrument_id = v_offset.instrument_id;
    RETURN FOUND;
END
$$;
