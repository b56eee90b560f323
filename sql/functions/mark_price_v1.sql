-- The price at which a position in an instrument is valued: the rule, in its one place.
-- (best bid + best ask) / 2 while both sides have resting orders, rounded half to even to 8
-- decimals; else the price of the last trade; null before the first. The HTTP API applies the same
-- rule to its replica of the book (api/positions.py).
-- Argument: instrument number. Locks: none.
CREATE FUNCTION exchange.mark_price_v1(p_instrument_id integer) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = exchange, pg_temp
SET enable_seqscan = off AS $$
    SELECT coalesce(
        divide_half_even(
            (SELECT o.price FROM orders o
             WHERE o.instrument_id = p_instrument_id AND o.side = 'buy'
               AND o.status IN ('open', 'partially_filled')
             ORDER BY o.price DESC LIMIT 1)
            + (SELECT o.price FROM orders o
               WHERE o.instrument_id = p_instrument_id AND o.side = 'sell'
                 AND o.status IN ('open', 'partially_filled')
               ORDER BY o.price LIMIT 1),
            2, 8),
        (SELECT t.price FROM trades t WHERE t.instrument_id = p_instrument_id
         ORDER BY t.sequence DESC LIMIT 1))
$$;
