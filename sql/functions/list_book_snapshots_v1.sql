-- The newest depth snapshots of one instrument, newest first, without their levels.
-- Arguments: instrument; how many at most. Result: counts of levels, and the best prices in units
-- of 1e-8, null for an empty side; the time in microseconds. Locks: none.
CREATE FUNCTION exchange.list_book_snapshots_v1(p_instrument text, p_limit integer)
RETURNS TABLE (
    snapshot_id bigint, sequence bigint, taken_us bigint, bid_levels integer, ask_levels integer,
    best_bid_ticks numeric, best_ask_ticks numeric
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT b.snapshot_id, b.sequence, to_us(b.taken_at), b.bid_levels, b.ask_levels,
           trunc(b.best_bid * 100000000), trunc(b.best_ask * 100000000)
    FROM instruments i
    JOIN book_snapshots b USING (instrument_id)
    WHERE i.instrument = p_instrument
    ORDER BY b.sequence DESC LIMIT p_limit
$$;
