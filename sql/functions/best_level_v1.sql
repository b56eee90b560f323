-- The best level of one side of the book now.
-- Arguments: instrument number; side. Result: one row, none when nothing rests there. Locks: none.
CREATE FUNCTION exchange.best_level_v1(p_instrument_id integer, p_side exchange.side)
RETURNS TABLE (price numeric, quantity numeric, orders bigint)
LANGUAGE sql STABLE
SET search_path = exchange, pg_temp
SET enable_seqscan = off AS $$
    SELECT o.price, sum(o.quantity - o.filled_quantity), count(*)
    FROM orders o
    WHERE o.instrument_id = p_instrument_id AND o.side = p_side
      AND o.status IN ('open', 'partially_filled')
      AND o.price = CASE p_side
          WHEN 'buy' THEN (SELECT max(b.price) FROM orders b
                           WHERE b.instrument_id = p_instrument_id AND b.side = 'buy'
                             AND b.status IN ('open', 'partially_filled'))
          ELSE (SELECT min(a.price) FROM orders a
                WHERE a.instrument_id = p_instrument_id AND a.side = 'sell'
                  AND a.status IN ('open', 'partially_filled'))
      END
    GROUP BY o.price
$$;
