-- The trades of one order, as maker and as taker, oldest first.
-- Arguments: the order's public id; with p_taker_only, only those it made when it arrived.
-- Result: amounts in units of 1e-8, times in microseconds. Locks: none.
CREATE FUNCTION exchange.get_order_trades_v1(p_order_id text, p_taker_only boolean)
RETURNS TABLE (
    trade_no bigint, sequence bigint, instrument text, price_ticks numeric, quantity_lots numeric,
    buy_order_id text, sell_order_id text, taker_side text, time_us bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH it AS (SELECT o.* FROM orders o WHERE o.order_id = p_order_id),
    own AS (
        SELECT t.* FROM it JOIN trades t
            ON t.instrument_id = it.instrument_id AND t.maker_order_no = it.order_no
        WHERE NOT p_taker_only
        UNION ALL
        -- A taker's trades are the run of sequences right after its accepted event; the run ends
        -- at the next order event.
        SELECT t.* FROM it JOIN trades t
            ON t.instrument_id = it.instrument_id AND t.sequence > it.sequence
           AND t.sequence < coalesce(
                (SELECT min(e.sequence) FROM order_events e
                 WHERE e.instrument_id = it.instrument_id AND e.sequence > it.sequence),
                9223372036854775807)
    )
    SELECT t.trade_no, t.sequence, i.instrument,
           trunc(t.price * 100000000), trunc(t.quantity * 100000000),
           CASE t.taker_side WHEN 'buy' THEN taker.order_id ELSE maker.order_id END,
           CASE t.taker_side WHEN 'buy' THEN maker.order_id ELSE taker.order_id END,
           t.taker_side::text, to_us(t.traded_at)
    FROM own t
    JOIN instruments i USING (instrument_id)
    JOIN orders maker ON maker.instrument_id = t.instrument_id AND maker.order_no = t.maker_order_no
    JOIN orders taker ON taker.instrument_id = t.instrument_id AND taker.order_no = t.taker_order_no
    ORDER BY t.sequence
$$;
