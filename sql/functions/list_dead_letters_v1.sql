-- Stream entries that could not be applied, newest first.
-- Argument: rows at most. Result: see the table. Locks: none.
CREATE FUNCTION exchange.list_dead_letters_v1(p_limit integer) RETURNS TABLE (
    instrument text, stream_id text, created_at timestamptz, error text, payload bytea,
    redriven_at timestamptz, redriven_by text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT i.instrument, d.stream_id, d.created_at, d.error, d.payload, d.redriven_at, d.redriven_by
    FROM dead_letters d JOIN instruments i USING (instrument_id)
    ORDER BY d.created_at DESC, i.instrument, d.stream_id LIMIT p_limit
$$;
