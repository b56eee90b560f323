-- Prolong a lease while there is nothing to commit.
-- Arguments: instrument number; the epoch held; lease in milliseconds.
-- Result: false when the epoch has passed to another owner: the caller is fenced.
-- Locks: the shard row.
CREATE FUNCTION exchange.renew_lease_v1(
    p_instrument_id integer, p_epoch bigint, p_lease_ms integer
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    UPDATE shard
    SET lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    WHERE instrument_id = p_instrument_id AND epoch = p_epoch;
    RETURN FOUND;
END
$$;
