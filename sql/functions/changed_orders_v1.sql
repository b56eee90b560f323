-- What happened in one instrument after a sequence, for a recovery that starts from a snapshot.
-- Arguments: instrument number; the sequence of the snapshot.
-- Result: one row: how many events there are after it, how many of them brought a new order, how many
-- are trades, and the numbers of the orders that they touched. How these stand is in load_orders.
-- Locks: none.
CREATE FUNCTION exchange.changed_orders_v1(p_instrument_id integer, p_after bigint)
RETURNS TABLE (events bigint, orders bigint, trades bigint, order_nos bigint[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT e.events + t.trades, e.orders, t.trades,
           ARRAY(
               SELECT order_no FROM order_events
               WHERE instrument_id = p_instrument_id AND sequence > p_after
               UNION
               SELECT maker_order_no FROM trades
               WHERE instrument_id = p_instrument_id AND sequence > p_after
               UNION
               SELECT taker_order_no FROM trades
               WHERE instrument_id = p_instrument_id AND sequence > p_after)
    FROM (SELECT count(*) AS events, count(*) FILTER (WHERE kind <> 'cancelled') AS orders
          FROM order_events WHERE instrument_id = p_instrument_id AND sequence > p_after) e,
         (SELECT count(*) AS trades
          FROM trades WHERE instrument_id = p_instrument_id AND sequence > p_after) t;
END
$$;
