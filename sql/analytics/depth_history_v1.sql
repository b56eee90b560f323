CREATE FUNCTION analytics.depth_history(
    p_instrument text,
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now(),
    p_step interval DEFAULT '1 hour', p_levels integer DEFAULT 5
) RETURNS TABLE (
    at timestamptz, sequence bigint, side text, level integer,
    price numeric, quantity numeric, cumulative numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    c_steps_max CONSTANT integer := 10000;
    v_instrument instruments := find_instrument_v1(p_instrument);
    v_at timestamptz := p_from;
    v_sequence bigint;
    v_reached bigint;
    v_book book_level[];
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    IF p_levels IS NULL OR p_levels < 1 THEN
        RAISE EXCEPTION 'levels must be at least 1' USING ERRCODE = '22023';
    END IF;
    IF p_step IS NULL OR p_step <= interval '0' OR p_from + c_steps_max * p_step < p_to THEN
        RAISE EXCEPTION 'the step must be above zero and leave at most % steps', c_steps_max
            USING ERRCODE = '22023';
    END IF;
    WHILE v_at < p_to LOOP
        v_sequence := last_sequence_at_v1(v_instrument.instrument_id, v_at);
        -- The first book is rebuilt, each later one made from the one before it.
        IF v_reached IS NULL THEN
            v_book := ARRAY(
                SELECT (b.side, b.price, b.quantity)::book_level
                FROM book_at_v1(v_instrument.instrument_id, v_sequence) b);
        ELSIF v_sequence > v_reached THEN
            v_book := ARRAY(
                SELECT (l.side, l.price, sum(l.quantity))::book_level
                FROM (
                    SELECT u.side, u.price, u.quantity FROM unnest(v_book) u
                    UNION ALL
                    SELECT c.side, c.price, c.quantity
                    FROM book_changes_v1(v_instrument.instrument_id, v_reached, v_sequence) c
                ) l
                GROUP BY l.side, l.price HAVING sum(l.quantity) <> 0);
        END IF;
        v_reached := v_sequence;
        RETURN QUERY
        SELECT v_at, v_sequence, CASE r.side WHEN 'buy' THEN 'bid' ELSE 'ask' END,
               r.level::integer, trim_scale(r.price), trim_scale(r.quantity),
               trim_scale(r.cumulative)
        FROM (
            SELECT u.*, row_number() OVER best_first AS level,
                   sum(u.quantity) OVER best_first AS cumulative
            FROM unnest(v_book) u
            WINDOW best_first AS (
                PARTITION BY u.side
                ORDER BY CASE u.side WHEN 'buy' THEN -u.price ELSE u.price END)
        ) r
        WHERE r.level <= p_levels
        ORDER BY r.side, r.level;
        v_at := v_at + p_step;
    END LOOP;
END
$$;
COMMENT ON FUNCTION analytics.depth_history IS $$
The best levels of an order book at regular moments. The first book is rebuilt as by
analytics.book_at, the others follow from it by the events between.

Arguments
  p_instrument  the instrument, such as BTC-USD
  p_from        the first moment; default 24 hours ago
  p_to          moments before this time; default now
  p_step        from one moment to the next, default 1 hour; at most 10,000 moments
  p_levels      levels of each side at most; default 5

Columns (by moment; bids, then asks, best first)
  at          the moment
  sequence    number of the last event at or before it; 0 when there was none
  side        bid or ask
  level       1 for the best price of its side
  price       quote asset per base asset
  quantity    base asset resting at this price
  cumulative  base asset from the best price to this one

Example
  SELECT at, side, price FROM analytics.depth_history('BTC-USD', p_levels => 1);
$$;
