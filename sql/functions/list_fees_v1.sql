-- The fees that are set, by instrument and segment; who is not listed pays nothing.
-- Result: basis points of price * quantity; negative for a rebate. Locks: none.
CREATE FUNCTION exchange.list_fees_v1() RETURNS TABLE (
    instrument text, segment text, maker_bps numeric, taker_bps numeric
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT i.instrument, s.segment, trim_scale(f.maker_bps), trim_scale(f.taker_bps)
    FROM fees f JOIN instruments i USING (instrument_id) JOIN client_segments s USING (segment_id)
    ORDER BY f.instrument_id, f.segment_id
$$;
