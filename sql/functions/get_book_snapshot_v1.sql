-- One stored depth snapshot.
-- Argument: its number. Result: one row or none; levels best first, in units of 1e-8; the time in
-- microseconds. Locks: none.
CREATE FUNCTION exchange.get_book_snapshot_v1(p_snapshot_id bigint) RETURNS TABLE (
    snapshot_id bigint, instrument text, sequence bigint, taken_us bigint,
    bid_prices numeric[], bid_quantities numeric[], ask_prices numeric[], ask_quantities numeric[]
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT b.snapshot_id, i.instrument, b.sequence, to_us(b.taken_at),
           ARRAY(SELECT trunc(u * 100000000) FROM unnest(b.bid_prices) AS u),
           ARRAY(SELECT trunc(u * 100000000) FROM unnest(b.bid_quantities) AS u),
           ARRAY(SELECT trunc(u * 100000000) FROM unnest(b.ask_prices) AS u),
           ARRAY(SELECT trunc(u * 100000000) FROM unnest(b.ask_quantities) AS u)
    FROM book_snapshots b JOIN instruments i USING (instrument_id)
    WHERE b.snapshot_id = p_snapshot_id
$$;
