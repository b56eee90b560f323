-- What an engine's state hash is made of, as it is committed now, all of one moment.
-- Argument: instrument number.
-- Result: one row: the counters, and of every resting order its number, whether it buys, its price
-- and what remains of it, in units of 1e-8. Locks: none.
CREATE FUNCTION exchange.read_state_v1(p_instrument_id integer) RETURNS TABLE (
    sequence bigint, order_no bigint, trade_no bigint,
    order_nos bigint[], buys boolean[], price_ticks numeric[], remaining_lots numeric[]
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT s.sequence, s.order_no, s.trade_no, r.*
    FROM shard s
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(o.order_no), '{}'), coalesce(array_agg(o.side = 'buy'), '{}'),
               coalesce(array_agg(trunc(o.price * 100000000)), '{}'),
               coalesce(array_agg(trunc((o.quantity - o.filled_quantity) * 100000000)), '{}')
        FROM orders o
        WHERE o.instrument_id = s.instrument_id AND o.status IN ('open', 'partially_filled')
    ) r
    WHERE s.instrument_id = p_instrument_id
$$;
