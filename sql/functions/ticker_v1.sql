-- The last trade of one instrument, and its trades of the last 24 hours taken together.
-- Argument: instrument. Result: one row, none for an unknown instrument; prices and quantities in
-- units of 1e-8, the value in 1e-16, the time in microseconds; null where there was no trade, but
-- quantity, value and count are then 0. Locks: none.
CREATE FUNCTION exchange.ticker_v1(p_instrument text) RETURNS TABLE (
    last_ticks numeric, last_us bigint, open_ticks numeric, high_ticks numeric, low_ticks numeric,
    quantity_lots numeric, value numeric, trade_count bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT trunc(l.price * 100000000), to_us(l.traded_at),
           trunc(f.price * 100000000), trunc(d.high * 100000000), trunc(d.low * 100000000),
           trunc(d.quantity * 100000000), trunc(d.value * 10000000000000000), d.trade_count
    FROM instruments i
    LEFT JOIN LATERAL (
        SELECT t.price, t.traded_at FROM trades t WHERE t.instrument_id = i.instrument_id
        ORDER BY t.sequence DESC LIMIT 1
    ) l ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS trade_count, max(t.price) AS high, min(t.price) AS low,
               coalesce(sum(t.quantity), 0) AS quantity,
               coalesce(sum(t.price * t.quantity), 0) AS value,
               min(t.sequence) AS first_sequence
        FROM trades t
        WHERE t.instrument_id = i.instrument_id
          AND t.traded_at > statement_timestamp() - interval '24 hours'
    ) d
    LEFT JOIN trades f ON f.instrument_id = i.instrument_id AND f.sequence = d.first_sequence
    WHERE i.instrument = p_instrument
$$;
