-- Make an instrument ready to be restored from a mirror: it is added when it is missing, and taken,
-- so that no matcher takes it meanwhile.
-- Arguments: instrument; base and quote asset; tick and lot; name of who restores; lease in
-- milliseconds.
-- Result: its number, the epoch under which it is the caller's, and the last sequence it has.
-- Errors: EX005 when an argument is unusable; EX013 when somebody matches it, or its assets are
-- others. Locks: the shard row.
CREATE FUNCTION exchange.restore_instrument_v1(
    p_instrument text, p_base text, p_quote text, p_tick numeric, p_lot numeric, p_owner text,
    p_lease_ms integer
) RETURNS TABLE (instrument_id integer, epoch bigint, sequence bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_instrument_id integer := (SELECT i.instrument_id FROM instruments i
                                WHERE i.instrument = p_instrument);
BEGIN
    IF v_instrument_id IS NULL THEN
        v_instrument_id := add_instrument_v2(p_instrument, p_base, p_quote, p_tick, p_lot);
    ELSIF NOT EXISTS (
        SELECT FROM instruments i
        JOIN assets b ON b.asset_id = i.base_asset_id
        JOIN assets q ON q.asset_id = i.quote_asset_id
        WHERE i.instrument_id = v_instrument_id AND b.asset = p_base AND q.asset = p_quote) THEN
        RAISE EXCEPTION '% is of other assets here', p_instrument USING ERRCODE = 'EX013';
    ELSE
        PERFORM set_instrument_sizes(p_instrument, p_tick, p_lot);
    END IF;
    RETURN QUERY
    SELECT v_instrument_id, a.epoch, a.sequence
    FROM acquire_shard_v1(v_instrument_id, p_owner, p_lease_ms) a;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a matcher holds %: stop it first', p_instrument USING ERRCODE = 'EX013';
    END IF;
END
$$;
