-- The trades of one order, as maker and as taker, oldest first.
-- Against v1: range after range from the order's own on, until all that it has filled is found, so
-- that it costs the same however long the history is.
-- Arguments: the order's public id; with p_taker_only, only those it made when it arrived.
-- Result: amounts in units of 1e-8, times in microseconds. Locks: none.
CREATE FUNCTION exchange.get_order_trades_v2(p_order_id text, p_taker_only boolean)
RETURNS TABLE (
    trade_no bigint, sequence bigint, instrument text, price_ticks numeric, quantity_lots numeric,
    buy_order_id text, sell_order_id text, taker_side text, time_us bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
-- Each row by index: without statistics a kept copy of a whole range can look cheaper.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_material = off
SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_order orders%ROWTYPE;
    v_range record;
    v_end bigint;
    v_sequences bigint[] := '{}';
    v_found bigint[];
    v_missing numeric;
BEGIN
    SELECT * INTO v_order FROM orders o WHERE o.order_id = p_order_id;
    v_missing := v_order.filled_quantity;
    FOR v_range IN
        SELECT greatest(r.first_sequence, v_order.sequence + 1) AS first, r.last_sequence AS last
        FROM partition_ranges r
        WHERE r.instrument_id = v_order.instrument_id AND r.last_sequence > v_order.sequence
        ORDER BY r.first_sequence
    LOOP
        EXIT WHEN v_missing <= 0 OR p_taker_only AND v_end IS NOT NULL;
        IF v_end IS NULL THEN
            -- A taker's trades are the run of sequences right after its accepted event; the run
            -- ends at the next order event, as a rule in the same range.
            v_end := (SELECT min(e.sequence) FROM order_events e
                      WHERE e.instrument_id = v_order.instrument_id
                        AND e.sequence BETWEEN v_range.first AND v_range.last);
            SELECT array_agg(t.sequence ORDER BY t.sequence), v_missing - coalesce(sum(t.quantity), 0)
            INTO v_found, v_missing
            FROM trades t
            WHERE t.instrument_id = v_order.instrument_id
              AND t.sequence BETWEEN v_range.first AND coalesce(v_end - 1, v_range.last);
            v_sequences := v_sequences || v_found;
        END IF;
        IF v_missing > 0 AND NOT p_taker_only THEN
            SELECT array_agg(t.sequence ORDER BY t.sequence), v_missing - coalesce(sum(t.quantity), 0)
            INTO v_found, v_missing
            FROM trades t
            WHERE t.instrument_id = v_order.instrument_id AND t.maker_order_no = v_order.order_no
              AND t.sequence BETWEEN v_range.first AND v_range.last;
            v_sequences := v_sequences || v_found;
        END IF;
    END LOOP;
    IF cardinality(v_sequences) = 0 THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT t.trade_no, t.sequence, i.instrument,
           trunc(t.price * 100000000), trunc(t.quantity * 100000000),
           CASE t.taker_side WHEN 'buy' THEN taker.order_id ELSE maker.order_id END,
           CASE t.taker_side WHEN 'buy' THEN maker.order_id ELSE taker.order_id END,
           t.taker_side::text, to_us(t.traded_at)
    FROM trades t
    JOIN instruments i USING (instrument_id)
    JOIN orders maker ON maker.instrument_id = t.instrument_id AND maker.order_no = t.maker_order_no
    JOIN orders taker ON taker.instrument_id = t.instrument_id AND taker.order_no = t.taker_order_no
    WHERE t.instrument_id = v_order.instrument_id AND t.sequence = ANY (v_sequences)
      AND t.sequence BETWEEN v_sequences[1] AND v_sequences[cardinality(v_sequences)]
    ORDER BY t.sequence;
END
$$;
