-- Trades of one instrument by intervals of time.
-- Arguments: instrument; from (inclusive) and to (exclusive) in microseconds; the interval in
-- minutes, 1 to 1440; how many rows at most.
-- Result: a row per interval in which there was a trade, oldest first: its start in microseconds,
-- aligned to the interval from midnight UTC and anew from each midnight; prices and quantities in
-- units of 1e-8, values (price * quantity) in 1e-16; price_sum is the plain sum of the trades'
-- prices. Locks: none.
CREATE FUNCTION exchange.candles_v1(
    p_instrument text, p_from_us bigint, p_to_us bigint, p_interval_minutes integer,
    p_limit integer
) RETURNS TABLE (
    start_us bigint, trade_count bigint, open_ticks numeric, high_ticks numeric, low_ticks numeric,
    close_ticks numeric, quantity_lots numeric, value numeric, price_sum numeric
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH buckets AS (
        SELECT t.instrument_id,
               date_bin(p_interval_minutes * interval '1 minute', t.traded_at,
                        date_bin('1 day', t.traded_at, '1970-01-01 00:00:00+00')) AS start,
               count(*) AS trade_count, max(t.price) AS high, min(t.price) AS low,
               sum(t.quantity) AS quantity, sum(t.price * t.quantity) AS value,
               sum(t.price) AS price_sum,
               min(t.sequence) AS first_sequence, max(t.sequence) AS last_sequence
        FROM instruments i
        JOIN trades t USING (instrument_id)
        WHERE i.instrument = p_instrument
          AND t.traded_at >= from_us(p_from_us) AND t.traded_at < from_us(p_to_us)
        GROUP BY t.instrument_id, start
        ORDER BY start LIMIT p_limit
    )
    SELECT to_us(b.start), b.trade_count, trunc(f.price * 100000000), trunc(b.high * 100000000),
           trunc(b.low * 100000000), trunc(l.price * 100000000), trunc(b.quantity * 100000000),
           trunc(b.value * 10000000000000000), trunc(b.price_sum * 100000000)
    FROM buckets b
    JOIN trades f ON f.instrument_id = b.instrument_id AND f.sequence = b.first_sequence
    JOIN trades l ON l.instrument_id = b.instrument_id AND l.sequence = b.last_sequence
    ORDER BY b.start
$$;
