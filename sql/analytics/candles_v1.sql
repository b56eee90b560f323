-- The intervals are those of the HTTP API: exchange.candles_v2 makes both.
CREATE FUNCTION analytics.candles(
    p_instrument text,
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now(),
    p_interval interval DEFAULT '1 hour'
) RETURNS TABLE (
    start_time timestamptz, open numeric, high numeric, low numeric, close numeric,
    volume numeric, quote_volume numeric, vwap numeric, trade_count bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_minutes numeric := extract(epoch FROM p_interval) / 60;
BEGIN
    PERFORM find_instrument_v1(p_instrument);
    PERFORM check_range_v1(p_from, p_to);
    IF v_minutes IS NULL OR v_minutes <> trunc(v_minutes) OR v_minutes NOT BETWEEN 1 AND 1440 THEN
        RAISE EXCEPTION 'the interval % is not whole minutes from 1 minute to 1 day', p_interval
            USING ERRCODE = '22023';
    END IF;
    RETURN QUERY
    SELECT from_us(c.start_us), trim_scale(c.open_ticks * 0.00000001),
           trim_scale(c.high_ticks * 0.00000001), trim_scale(c.low_ticks * 0.00000001),
           trim_scale(c.close_ticks * 0.00000001), trim_scale(c.quantity_lots * 0.00000001),
           trim_scale(c.value * 0.0000000000000001),
           divide_half_even(c.value * 0.00000001, c.quantity_lots), c.trade_count
    FROM candles_v2(
        p_instrument, to_us(greatest(p_from, '1970-01-01 00:00:00+00')),
        to_us(least(p_to, '9999-01-01 00:00:00+00')), v_minutes::integer, 2147483647) c;
END
$$;
COMMENT ON FUNCTION analytics.candles IS $$
An instrument's trades by intervals of time: open, high, low, close and volume of each interval in
which there was a trade. Intervals are aligned from midnight UTC, anew each day, exactly as in the
HTTP API's /market/candles.

Arguments
  p_instrument  the instrument, such as BTC-USD
  p_from        from this time on; default 24 hours ago
  p_to          up to but not including this time; default now
  p_interval    length of an interval, whole minutes from 1 minute to 1 day; default 1 hour

Columns (a row per interval with trades, oldest first)
  start_time    when the interval begins
  open          price of its first trade
  high          highest price
  low           lowest price
  close         price of its last trade
  volume        base asset traded
  quote_volume  quote asset paid for it, exact
  vwap          quote_volume / volume, rounded half to even to 8 decimals
  trade_count   number of trades

Example
  SELECT * FROM analytics.candles('BTC-USD', p_interval => '15 minutes');
$$;
