-- The newest trades of one instrument, newest first.
-- Against v1: range after range, so that it costs the same however long the history is.
-- Arguments: instrument; how many at most. Result: as get_order_trades. Locks: none.
CREATE FUNCTION exchange.get_trades_v2(p_instrument text, p_limit integer)
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
    v_range record;
    v_left bigint := p_limit;
    v_count bigint;
BEGIN
    FOR v_range IN
        SELECT r.instrument_id, r.first_sequence AS first, r.last_sequence AS last
        FROM instruments i
        JOIN shard s USING (instrument_id)
        JOIN partition_ranges r USING (instrument_id)
        WHERE i.instrument = p_instrument AND r.first_sequence <= s.sequence + 1
        ORDER BY r.first_sequence DESC
    LOOP
        EXIT WHEN v_left <= 0;
        RETURN QUERY
        SELECT t.trade_no, t.sequence, p_instrument,
               trunc(t.price * 100000000), trunc(t.quantity * 100000000),
               CASE t.taker_side WHEN 'buy' THEN taker.order_id ELSE maker.order_id END,
               CASE t.taker_side WHEN 'buy' THEN maker.order_id ELSE taker.order_id END,
               t.taker_side::text, to_us(t.traded_at)
        FROM (
            SELECT t.* FROM trades t
            WHERE t.instrument_id = v_range.instrument_id
              AND t.sequence BETWEEN v_range.first AND v_range.last
            ORDER BY t.sequence DESC LIMIT v_left
        ) t
        JOIN orders maker
            ON maker.instrument_id = t.instrument_id AND maker.order_no = t.maker_order_no
        JOIN orders taker
            ON taker.instrument_id = t.instrument_id AND taker.order_no = t.taker_order_no
        ORDER BY t.sequence DESC;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_left := v_left - v_count;
    END LOOP;
END
$$;
