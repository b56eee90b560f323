-- Microseconds since 1970 of a timestamp, exactly.
CREATE FUNCTION exchange.to_us(p_at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM p_at) * 1000000)::bigint
$$;
