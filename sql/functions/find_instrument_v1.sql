-- One instrument by its public name.
-- Argument: name. Result: its row. Errors: 22023 for a name nobody has. Locks: none.
CREATE FUNCTION exchange.find_instrument_v1(p_instrument text) RETURNS exchange.instruments
LANGUAGE plpgsql STABLE SET search_path = exchange, pg_temp AS $$
DECLARE
    v_instrument instruments%ROWTYPE;
BEGIN
    SELECT * INTO v_instrument FROM instruments i WHERE i.instrument = p_instrument;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no instrument %', coalesce(quote_literal(p_instrument), 'null')
            USING ERRCODE = '22023', HINT = 'SELECT * FROM analytics.instruments() lists them.';
    END IF;
    RETURN v_instrument;
END
$$;
