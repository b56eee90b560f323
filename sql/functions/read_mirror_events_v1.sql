-- The events of one instrument after a sequence, trades included, in order, with all that a reader
-- without a database needs to know. They end between two commands: a taker's trades, and the
-- cancellation of what a market order could not fill, are never cut from its accepted event.
-- Arguments: instrument number; read what comes after this sequence; how many at most, but for the
-- rest of the last command.
-- Result: kind is accepted, rejected, cancelled or trade. order_no is the order, or a trade's taker,
-- and side and type its own; amounts in units of 1e-8, 0 for no price, fees in 1e-16. What follows
-- reason is set for trades only. Locks: none.
CREATE FUNCTION exchange.read_mirror_events_v1(
    p_instrument_id integer, p_after bigint, p_limit integer
) RETURNS TABLE (
    sequence bigint, kind text, order_no bigint, side text, type text, price_ticks numeric,
    quantity_lots numeric, time_us bigint, reason text,
    trade_no bigint, maker_order_no bigint, maker_fee numeric, taker_fee numeric,
    maker_segment text, taker_segment text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_last bigint := (SELECT s.sequence FROM shard s WHERE s.instrument_id = p_instrument_id);
    v_to bigint := least(v_last, p_after + p_limit);
    v_next record;
BEGIN
    IF v_to < v_last THEN
        -- Trades always follow their taker's accepted event, and a market order never rests, so what
        -- cancels it follows, too.
        SELECT e.sequence, e.kind, e.type INTO v_next FROM order_events e
        WHERE e.instrument_id = p_instrument_id AND e.sequence > v_to
        ORDER BY e.sequence LIMIT 1;
        v_to := CASE WHEN v_next.kind = 'cancelled' AND v_next.type = 'market' THEN v_next.sequence
                     ELSE coalesce(v_next.sequence - 1, v_last) END;
    END IF;
    RETURN QUERY
    SELECT e.sequence, e.kind::text, e.order_no, e.side::text, e.type::text,
           coalesce(trunc(e.price * 100000000), 0), trunc(e.quantity * 100000000),
           to_us(e.happened_at), coalesce(e.reason, ''),
           NULL::bigint, NULL::bigint, NULL::numeric, NULL::numeric, NULL::text, NULL::text
    FROM order_events e
    WHERE e.instrument_id = p_instrument_id AND e.sequence > p_after AND e.sequence <= v_to
    UNION ALL
    SELECT t.sequence, 'trade', t.taker_order_no, t.taker_side::text, NULL,
           trunc(t.price * 100000000), trunc(t.quantity * 100000000), to_us(t.traded_at), '',
           t.trade_no, t.maker_order_no, trunc(t.maker_fee * 10000000000000000),
           trunc(t.taker_fee * 10000000000000000), m.segment, k.segment
    FROM trades t
    JOIN client_segments m ON m.segment_id = t.maker_segment_id
    JOIN client_segments k ON k.segment_id = t.taker_segment_id
    WHERE t.instrument_id = p_instrument_id AND t.sequence > p_after AND t.sequence <= v_to
    ORDER BY 1;
END
$$;
