-- What happened in one instrument after a sequence, for a recovery that starts from a snapshot.
-- Arguments: instrument number; the sequence of the snapshot, and its last order number.
-- Result: one row: how many events there are after it, how many of them brought a new order, how many
-- are trades, and the numbers of the older orders that they touched. How those stand, and what rests
-- of the new ones, is in load_orders.
-- Locks: none.
CREATE FUNCTION exchange.changed_orders_v1(
    p_instrument_id integer, p_after bigint, p_order_no bigint
) RETURNS TABLE (events bigint, orders bigint, trades bigint, order_nos bigint[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    -- A taker is always new: it was accepted after the snapshot.
    RETURN QUERY
    SELECT e.events + t.trades, e.orders, t.trades,
           ARRAY(
               SELECT c.order_no FROM order_events c
               WHERE c.instrument_id = p_instrument_id AND c.sequence > p_after
                 AND c.kind = 'cancelled' AND c.order_no <= p_order_no
               UNION
               SELECT m.maker_order_no FROM trades m
               WHERE m.instrument_id = p_instrument_id AND m.sequence > p_after
                 AND m.maker_order_no <= p_order_no)
    FROM (SELECT count(*) AS events, count(*) FILTER (WHERE kind <> 'cancelled') AS orders
          FROM order_events WHERE instrument_id = p_instrument_id AND sequence > p_after) e,
         (SELECT count(*) AS trades
          FROM trades WHERE instrument_id = p_instrument_id AND sequence > p_after) t;
END
$$;
