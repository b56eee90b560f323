-- The event log of one instrument after a sequence, trades included, in order.
-- Arguments: instrument number; read what comes after this sequence; how many at most.
-- Result: kind is accepted, rejected, cancelled or trade. order_no is the order, or a trade's
-- taker; maker_order_no and trade_no are set for trades only. Amounts in units of 1e-8.
CREATE FUNCTION exchange.read_events_v1(
    p_instrument_id integer, p_after bigint, p_limit integer
) RETURNS TABLE (
    sequence bigint, kind text, order_no bigint, side text, type text, price_ticks numeric,
    quantity_lots numeric, trade_no bigint, maker_order_no bigint, time_us bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off AS $$
    SELECT e.sequence, e.kind, e.order_no, e.side::text, e.type::text,
           coalesce(trunc(e.price * 100000000), 0), trunc(e.quantity * 100000000),
           e.trade_no, e.maker_order_no, to_us(e.at)
    FROM (
        (SELECT sequence, kind::text, order_no, side, type, price, quantity,
                NULL::bigint AS trade_no, NULL::bigint AS maker_order_no, happened_at AS at
         FROM order_events WHERE instrument_id = p_instrument_id AND sequence > p_after
         ORDER BY sequence LIMIT p_limit)
        UNION ALL
        (SELECT sequence, 'trade', taker_order_no, taker_side, NULL, price, quantity,
                trade_no, maker_order_no, traded_at
         FROM trades WHERE instrument_id = p_instrument_id AND sequence > p_after
         ORDER BY sequence LIMIT p_limit)
    ) e
    ORDER BY e.sequence LIMIT p_limit
$$;
