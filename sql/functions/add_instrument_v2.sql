-- Add an instrument, with its partitions; running processes notice it within seconds.
-- Arguments: public name; base and quote asset; tick and lot, multiples of 0.00000001.
-- Result: its number. Errors: EX005 when the name is taken or an argument is unusable.
CREATE FUNCTION exchange.add_instrument_v2(
    p_instrument text, p_base text, p_quote text, p_tick numeric, p_lot numeric
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_instrument_id integer;
BEGIN
    IF p_instrument !~ '^[A-Z0-9]{1,16}-[A-Z0-9]{1,16}$' THEN
        RAISE EXCEPTION '% is not an instrument name: write it as BASE-QUOTE, in capitals',
            p_instrument USING ERRCODE = 'EX005';
    END IF;
    INSERT INTO assets (asset) VALUES (p_base), (p_quote) ON CONFLICT DO NOTHING;
    INSERT INTO instruments (instrument, base_asset_id, quote_asset_id, tick_size, lot_size)
    SELECT p_instrument, b.asset_id, q.asset_id, trim_scale(p_tick), trim_scale(p_lot)
    FROM assets b, assets q WHERE b.asset = p_base AND q.asset = p_quote
    ON CONFLICT (instrument) DO NOTHING
    RETURNING instrument_id INTO v_instrument_id;
    IF v_instrument_id IS NULL THEN
        RAISE EXCEPTION 'instrument % exists already', p_instrument USING ERRCODE = 'EX005';
    END IF;
    INSERT INTO shard (instrument_id) VALUES (v_instrument_id);
    PERFORM make_ranges_v1(v_instrument_id, 1);
    RETURN v_instrument_id;
EXCEPTION WHEN check_violation THEN
    RAISE EXCEPTION 'base and quote must differ, and tick and lot must be at least 0.00000001 '
        'with at most 8 decimals' USING ERRCODE = 'EX005';
END
$$;
