-- What the events of an instrument after one sequence, up to another, add to and take from the
-- book, by order. An accepted limit order adds its quantity at its price; a trade takes from the
-- maker and from the taker, each at its own limit; cancelling takes the rest. Sums commute, so the
-- book at a later sequence less these changes is the book at the earlier one.
-- Arguments: instrument number; events after this sequence; up to this one.
-- Result: a row per order that it changes; quantity is signed. Locks: none.
CREATE FUNCTION exchange.book_changes_v1(p_instrument_id integer, p_after bigint, p_to bigint)
RETURNS TABLE (order_no bigint, side exchange.side, price numeric, quantity numeric)
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT c.order_no, c.side, c.price, sum(c.quantity)
    FROM (
        SELECT e.order_no, e.side, e.price,
               CASE e.kind WHEN 'accepted' THEN e.quantity ELSE -e.quantity END AS quantity
        FROM order_events e
        WHERE e.instrument_id = p_instrument_id AND e.sequence > p_after AND e.sequence <= p_to
          AND e.kind <> 'rejected' AND e.price IS NOT NULL
        UNION ALL
        SELECT t.maker_order_no,
               CASE t.taker_side WHEN 'buy' THEN 'sell' ELSE 'buy' END::side, t.price, -t.quantity
        FROM trades t
        WHERE t.instrument_id = p_instrument_id AND t.sequence > p_after AND t.sequence <= p_to
        UNION ALL
        SELECT t.taker_order_no, t.taker_side, o.price, -t.quantity
        FROM trades t
        JOIN orders o ON o.instrument_id = p_instrument_id AND o.order_no = t.taker_order_no
        WHERE t.instrument_id = p_instrument_id AND t.sequence > p_after AND t.sequence <= p_to
          AND o.price IS NOT NULL
    ) c
    GROUP BY c.order_no, c.side, c.price
    HAVING sum(c.quantity) <> 0;
END
$$;
