-- The last trade of one instrument, and its trades of the last 24 hours taken together.
-- Against v1: reads the partitions of those trades only.
-- Argument: instrument. Result: one row, none for an unknown instrument; prices and quantities in
-- units of 1e-8, the value in 1e-16, the time in microseconds; null where there was no trade, but
-- quantity, value and count are then 0. Locks: none.
CREATE FUNCTION exchange.ticker_v2(p_instrument text) RETURNS TABLE (
    last_ticks numeric, last_us bigint, open_ticks numeric, high_ticks numeric, low_ticks numeric,
    quantity_lots numeric, value numeric, trade_count bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_instrument_id integer := (SELECT i.instrument_id FROM instruments i
                                WHERE i.instrument = p_instrument);
    v_since timestamptz := statement_timestamp() - interval '24 hours';
    v_first bigint;
    v_range record;
BEGIN
    IF v_instrument_id IS NULL THEN
        RETURN;
    END IF;
    FOR v_range IN
        SELECT r.first_sequence AS first, r.last_sequence AS last
        FROM partition_ranges r
        WHERE r.instrument_id = v_instrument_id
          AND r.first_sequence <= 1 + (SELECT s.sequence FROM shard s
                                       WHERE s.instrument_id = v_instrument_id)
        ORDER BY r.first_sequence DESC
    LOOP
        SELECT trunc(t.price * 100000000), to_us(t.traded_at) INTO last_ticks, last_us
        FROM trades t
        WHERE t.instrument_id = v_instrument_id
          AND t.sequence BETWEEN v_range.first AND v_range.last
        ORDER BY t.sequence DESC LIMIT 1;
        EXIT WHEN FOUND;
    END LOOP;
    v_first := (SELECT b.first_sequence FROM trade_bounds_v1(v_instrument_id, v_since, 'infinity') b);
    RETURN QUERY
    SELECT last_ticks, last_us,
           -- Not as a join: without statistics that may look for it by the bound alone.
           (SELECT trunc(f.price * 100000000) FROM trades f
            WHERE f.instrument_id = v_instrument_id AND f.sequence = d.first_sequence
              AND f.sequence >= v_first),
           trunc(d.high * 100000000), trunc(d.low * 100000000), trunc(d.quantity * 100000000),
           trunc(d.value * 10000000000000000), d.trade_count
    FROM (
        SELECT count(*) AS trade_count, max(t.price) AS high, min(t.price) AS low,
               coalesce(sum(t.quantity), 0) AS quantity,
               coalesce(sum(t.price * t.quantity), 0) AS value,
               min(t.sequence) AS first_sequence
        FROM trades t
        WHERE t.instrument_id = v_instrument_id AND t.sequence >= v_first
          AND t.traded_at > v_since
    ) d;
END
$$;
