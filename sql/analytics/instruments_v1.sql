CREATE FUNCTION analytics.instruments() RETURNS TABLE (
    instrument text, base_asset text, quote_asset text, tick_size numeric, lot_size numeric,
    status text, orders bigint, trades bigint, sequence bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT i.instrument, b.asset, q.asset, trim_scale(i.tick_size), trim_scale(i.lot_size),
           i.status, s.order_no, s.trade_no, s.sequence
    FROM instruments i
    JOIN assets b ON b.asset_id = i.base_asset_id
    JOIN assets q ON q.asset_id = i.quote_asset_id
    JOIN shard s USING (instrument_id)
    ORDER BY i.instrument_id
$$;
COMMENT ON FUNCTION analytics.instruments IS $$
What is traded, and how much has happened in it so far. Start here.

Columns
  instrument   its name, BASE-QUOTE; the first argument of most functions here
  base_asset   what is bought and sold; quantities are in it
  quote_asset  what it is paid with; prices are in it per base asset, values and fees in it
  tick_size    prices of new orders are multiples of it
  lot_size     quantities of new orders are multiples of it
  status       trading, or why not
  orders       orders ever accepted or rejected
  trades       trades ever made
  sequence     number of its last event; events are numbered from 1 without a gap

Example
  SELECT instrument, trades FROM analytics.instruments();
$$;
