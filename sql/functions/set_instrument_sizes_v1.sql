-- Change an instrument's tick and lot: new orders must be multiples of them; resting orders stay.
-- Arguments: public name; tick and lot, null to leave one as it is.
-- Errors: EX005 for an unknown instrument or an unusable size. Locks: the instrument's row.
CREATE FUNCTION exchange.set_instrument_sizes(p_instrument text, p_tick numeric, p_lot numeric)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    UPDATE instruments
    SET tick_size = coalesce(trim_scale(p_tick), tick_size),
        lot_size = coalesce(trim_scale(p_lot), lot_size)
    WHERE instrument = p_instrument;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no instrument %', p_instrument USING ERRCODE = 'EX005';
    END IF;
EXCEPTION WHEN check_violation THEN
    RAISE EXCEPTION 'tick and lot must be at least 0.00000001 with at most 8 decimals'
        USING ERRCODE = 'EX005';
END
$$;
