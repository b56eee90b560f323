CREATE FUNCTION analytics.book_at_sequence(
    p_instrument text, p_sequence bigint, p_levels integer DEFAULT 10
) RETURNS TABLE (
    side text, level integer, price numeric, quantity numeric, cumulative numeric, orders bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT * FROM book_depth_v1((find_instrument_v1(p_instrument)).instrument_id,
                                p_sequence, p_levels)
$$;
COMMENT ON FUNCTION analytics.book_at_sequence IS $$
The order book as it stood right after one event, rebuilt from the event log: from the newest
snapshot at or before it, or backwards from the present, whichever is nearer. An order that was
still trading at that sequence is not in the book yet.

Arguments
  p_instrument  the instrument, such as BTC-USD
  p_sequence    number of the event; 0 is before the first
  p_levels      levels of each side at most, default 10; null for all

Columns (bids, then asks, best first)
  side        bid or ask
  level       1 for the best price of its side
  price       quote asset per base asset
  quantity    base asset resting at this price
  cumulative  base asset from the best price to this one
  orders      number of orders at this price; null where a snapshot stands in for older events

Example
  SELECT * FROM analytics.book_at_sequence('BTC-USD', 1000, 5);
$$;
