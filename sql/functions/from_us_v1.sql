-- The timestamp of microseconds since 1970, exactly: seconds and microseconds are added apart, so
-- that neither multiplication leaves the range in which a float is exact.
CREATE FUNCTION exchange.from_us(p_us bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT timestamptz '1970-01-01 00:00:00+00'
        + (p_us / 1000000) * interval '1 second' + (p_us % 1000000) * interval '1 microsecond'
$$;
