-- Give the mirror's lease back, so that the next run need not wait for its end.
-- Arguments: instrument number; the mirror's epoch. Result: false when it had passed to another.
-- Locks: the row of mirror_offsets.
CREATE FUNCTION exchange.end_mirror_v1(p_instrument_id integer, p_epoch bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    UPDATE mirror_offsets SET owner = NULL
    WHERE instrument_id = p_instrument_id AND epoch = p_epoch;
    RETURN FOUND;
END
$$;
