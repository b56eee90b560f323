-- Give a lease back, and wake up those who wait for one (channel exchange_free).
-- Arguments: instrument number; the epoch held. Result: false when it was no longer held.
-- Locks: the shard row.
CREATE FUNCTION exchange.release_lease_v2(p_instrument_id integer, p_epoch bigint)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    UPDATE shard SET owner = NULL, lease_until = '-infinity'
    WHERE instrument_id = p_instrument_id AND epoch = p_epoch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pg_notify('exchange_free', p_instrument_id::text);
    RETURN true;
END
$$;
