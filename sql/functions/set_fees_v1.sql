-- Set what the clients of a segment pay for trading an instrument, from its next batch on.
-- Arguments: instrument; segment; basis points (a hundredth of a per cent) of price * quantity for
-- makers, negative for a rebate, and for takers; at most 4 decimals. Twice 0 takes the row away.
-- Errors: EX005 for an unknown instrument or segment, and for unusable fees. Locks: the row.
CREATE FUNCTION exchange.set_fees_v1(
    p_instrument text, p_segment text, p_maker_bps numeric, p_taker_bps numeric
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_instrument_id integer := (SELECT i.instrument_id FROM instruments i
                                WHERE i.instrument = p_instrument);
    v_segment_id smallint := (SELECT s.segment_id FROM client_segments s
                              WHERE s.segment = p_segment);
BEGIN
    IF v_instrument_id IS NULL OR v_segment_id IS NULL THEN
        RAISE EXCEPTION 'there is no % %',
            CASE WHEN v_instrument_id IS NULL THEN 'instrument' ELSE 'segment' END,
            CASE WHEN v_instrument_id IS NULL THEN p_instrument ELSE p_segment END
            USING ERRCODE = 'EX005';
    END IF;
    IF p_maker_bps = 0 AND p_taker_bps = 0 THEN
        DELETE FROM fees f
        WHERE f.instrument_id = v_instrument_id AND f.segment_id = v_segment_id;
        RETURN;
    END IF;
    INSERT INTO fees (instrument_id, segment_id, maker_bps, taker_bps)
    VALUES (v_instrument_id, v_segment_id, trim_scale(p_maker_bps), trim_scale(p_taker_bps))
    ON CONFLICT (instrument_id, segment_id)
        DO UPDATE SET maker_bps = excluded.maker_bps, taker_bps = excluded.taker_bps;
EXCEPTION WHEN check_violation OR not_null_violation THEN
    RAISE EXCEPTION 'fees are at most 10000 basis points with at most 4 decimals; only a maker''s '
        'may be negative' USING ERRCODE = 'EX005';
END
$$;
