-- The newest trades of one instrument, newest first.
-- Arguments: instrument; how many at most. Result: as get_order_trades. Locks: none.
CREATE FUNCTION exchange.get_trades_v1(p_instrument text, p_limit integer)
RETURNS TABLE (
    trade_no bigint, sequence bigint, instrument text, price_ticks numeric, quantity_lots numeric,
    buy_order_id text, sell_order_id text, taker_side text, time_us bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT t.trade_no, t.sequence, i.instrument,
           trunc(t.price * 100000000), trunc(t.quantity * 100000000),
           CASE t.taker_side WHEN 'buy' THEN taker.order_id ELSE maker.order_id END,
           CASE t.taker_side WHEN 'buy' THEN maker.order_id ELSE taker.order_id END,
           t.taker_side::text, to_us(t.traded_at)
    FROM instruments i
    CROSS JOIN LATERAL (
        SELECT * FROM trades t WHERE t.instrument_id = i.instrument_id
        ORDER BY t.sequence DESC LIMIT p_limit
    ) t
    JOIN orders maker ON maker.instrument_id = t.instrument_id AND maker.order_no = t.maker_order_no
    JOIN orders taker ON taker.instrument_id = t.instrument_id AND taker.order_no = t.taker_order_no
    WHERE i.instrument = p_instrument
    ORDER BY t.sequence DESC
$$;
