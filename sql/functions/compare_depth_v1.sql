-- Compare what a matcher has published of its book with what the event log says of that moment.
-- Arguments: instrument number; sequence; the published levels, in units of 1e-8.
-- Result: a row per level that differs, in natural units. Errors: 22023 for a sequence that is not committed.
-- Locks: none.
CREATE FUNCTION exchange.compare_depth_v1(
    p_instrument_id integer, p_sequence bigint,
    p_bid_prices numeric[], p_bid_quantities numeric[],
    p_ask_prices numeric[], p_ask_quantities numeric[]
) RETURNS TABLE (side text, price numeric, stored numeric, published numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT coalesce(b.side::text, p.side), trim_scale(coalesce(b.price, p.price)),
           trim_scale(b.quantity), trim_scale(p.quantity)
    FROM book_at_v1(p_instrument_id, p_sequence) b
    FULL JOIN (
        SELECT 'buy', u.price * 0.00000001, u.quantity * 0.00000001
        FROM unnest(p_bid_prices, p_bid_quantities) AS u(price, quantity)
        UNION ALL
        SELECT 'sell', u.price * 0.00000001, u.quantity * 0.00000001
        FROM unnest(p_ask_prices, p_ask_quantities) AS u(price, quantity)
    ) p(side, price, quantity) ON p.side = b.side::text AND p.price = b.price
    WHERE b.quantity IS DISTINCT FROM p.quantity
    ORDER BY 1, 2
$$;
