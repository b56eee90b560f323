CREATE FUNCTION analytics.vwap(
    p_instrument text,
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now()
) RETURNS TABLE (vwap numeric, volume numeric, quote_volume numeric, trade_count bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_instrument instruments := find_instrument_v1(p_instrument);
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    RETURN QUERY
    SELECT divide_half_even(s.value, s.quantity), trim_scale(s.quantity), trim_scale(s.value), s.n
    FROM (
        SELECT coalesce(sum(t.price * t.quantity), 0) AS value,
               coalesce(sum(t.quantity), 0) AS quantity, count(*) AS n
        FROM trades t
        WHERE t.instrument_id = v_instrument.instrument_id
          AND t.traded_at >= p_from AND t.traded_at < p_to
    ) s;
END
$$;
COMMENT ON FUNCTION analytics.vwap IS $$
The volume-weighted average price of an instrument's trades in a range of time.

Arguments
  p_instrument  the instrument, such as BTC-USD
  p_from        from this time on; default 24 hours ago
  p_to          up to but not including this time; default now

Columns (always one row)
  vwap          quote_volume / volume, rounded half to even to 8 decimals; null without trades
  volume        base asset traded
  quote_volume  quote asset paid for it: the sum of price * quantity, exact
  trade_count   number of trades

Example
  SELECT vwap FROM analytics.vwap('BTC-USD', now() - interval '1 hour');
$$;
