CREATE FUNCTION analytics.ticker(p_instrument text DEFAULT NULL) RETURNS TABLE (
    instrument text, last_price numeric, last_at timestamptz,
    best_bid numeric, best_bid_quantity numeric, best_ask numeric, best_ask_quantity numeric,
    mark_price numeric, open numeric, high numeric, low numeric, volume numeric,
    quote_volume numeric, change numeric, change_percent numeric, trade_count bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
    IF p_instrument IS NOT NULL THEN
        PERFORM find_instrument_v1(p_instrument);
    END IF;
    RETURN QUERY
    SELECT i.instrument, trim_scale(t.last_ticks * 0.00000001), from_us(t.last_us),
           trim_scale(b.price), trim_scale(b.quantity), trim_scale(a.price), trim_scale(a.quantity),
           trim_scale(mark_price_v1(i.instrument_id)), trim_scale(t.open_ticks * 0.00000001),
           trim_scale(t.high_ticks * 0.00000001), trim_scale(t.low_ticks * 0.00000001),
           trim_scale(t.quantity_lots * 0.00000001), trim_scale(t.value * 0.0000000000000001),
           trim_scale((t.last_ticks - t.open_ticks) * 0.00000001),
           divide_half_even((t.last_ticks - t.open_ticks) * 100, t.open_ticks), t.trade_count
    FROM instruments i
    CROSS JOIN LATERAL ticker_v2(i.instrument) t
    LEFT JOIN LATERAL best_level_v1(i.instrument_id, 'buy') b ON true
    LEFT JOIN LATERAL best_level_v1(i.instrument_id, 'sell') a ON true
    WHERE p_instrument IS NULL OR i.instrument = p_instrument
    ORDER BY i.instrument_id;
END
$$;
COMMENT ON FUNCTION analytics.ticker IS $$
Where an instrument stands: its last trade, the best prices of the book, and its last 24 hours.

Arguments
  p_instrument  the instrument, such as BTC-USD; default all of them

Columns (a row per instrument)
  instrument         the instrument
  last_price         price of the last trade; null before the first
  last_at            when that was
  best_bid           highest price somebody would buy at now; null when nobody does
  best_bid_quantity  base asset wanted at that price
  best_ask           lowest price somebody would sell at now; null when nobody does
  best_ask_quantity  base asset offered at that price
  mark_price         what positions are valued at: (best_bid + best_ask) / 2 rounded half to even to
                     8 decimals, else last_price
  open               price of the first trade of the last 24 hours; null without one, as high, low
  high               highest price of the last 24 hours
  low                lowest price of the last 24 hours
  volume             base asset traded in the last 24 hours
  quote_volume       quote asset paid for it, exact
  change             last_price - open
  change_percent     the same in per cent of open, rounded half to even to 8 decimals
  trade_count        trades of the last 24 hours

Example
  SELECT instrument, last_price, change_percent FROM analytics.ticker();
$$;
