-- List the restores, newest first.
-- Result: a row per timeline and instrument, see timelines.
CREATE FUNCTION exchange.list_timelines_v1()
RETURNS TABLE (
    timeline bigint, began_at timestamptz, reason text, instrument text, sequence bigint,
    trade_no bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT t.timeline, t.began_at, t.reason, i.instrument, t.sequence, t.trade_no
    FROM timelines t JOIN instruments i USING (instrument_id)
    ORDER BY t.timeline DESC, t.instrument_id
$$;
