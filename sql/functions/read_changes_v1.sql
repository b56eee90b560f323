-- What happened in one instrument after a sequence, for a feed that missed it: the trades.
-- The orders are in read_changed_orders; both agree when called in one snapshot (REPEATABLE READ).
-- Arguments: instrument number; the last sequence known; how many events at most.
-- Result: at least one row. committed_sequence, the same in each, is the instrument's sequence now;
-- the rest as in get_trades, oldest first, null when there was no trade, or when more than p_limit
-- events have happened. Locks: none.
CREATE FUNCTION exchange.read_changes_v1(p_instrument_id integer, p_after bigint, p_limit integer)
RETURNS TABLE (
    committed_sequence bigint,
    trade_no bigint, sequence bigint, instrument text, price_ticks numeric, quantity_lots numeric,
    buy_order_id text, sell_order_id text, taker_side text, time_us bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT s.sequence, t.trade_no, t.sequence, t.instrument,
           trunc(t.price * 100000000), trunc(t.quantity * 100000000),
           CASE t.taker_side WHEN 'buy' THEN t.taker_order_id ELSE t.maker_order_id END,
           CASE t.taker_side WHEN 'buy' THEN t.maker_order_id ELSE t.taker_order_id END,
           t.taker_side::text, to_us(t.traded_at)
    FROM shard s
    LEFT JOIN LATERAL (
        SELECT t.*, i.instrument, maker.order_id AS maker_order_id, taker.order_id AS taker_order_id
        FROM trades t
        JOIN instruments i USING (instrument_id)
        JOIN orders maker
            ON maker.instrument_id = t.instrument_id AND maker.order_no = t.maker_order_no
        JOIN orders taker
            ON taker.instrument_id = t.instrument_id AND taker.order_no = t.taker_order_no
        WHERE t.instrument_id = s.instrument_id AND t.sequence > p_after
          AND s.sequence - p_after <= p_limit
    ) t ON true
    WHERE s.instrument_id = p_instrument_id
    ORDER BY t.sequence
$$;
