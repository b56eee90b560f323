CREATE FUNCTION analytics.book_at(
    p_instrument text, p_at timestamptz DEFAULT now(), p_levels integer DEFAULT 10
) RETURNS TABLE (
    side text, level integer, price numeric, quantity numeric, cumulative numeric, orders bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT b.*
    FROM find_instrument_v1(p_instrument) i
    CROSS JOIN LATERAL book_depth_v1(
        i.instrument_id, last_sequence_at_v1(i.instrument_id, p_at), p_levels) b
$$;
COMMENT ON FUNCTION analytics.book_at IS $$
The order book as it stood at a moment, after all events of that microsecond. Rebuilt as by
analytics.book_at_sequence, which takes the number of an event instead of a time.

Arguments
  p_instrument  the instrument, such as BTC-USD
  p_at          the moment; default now
  p_levels      levels of each side at most, default 10; null for all

Columns (bids, then asks, best first)
  side        bid or ask
  level       1 for the best price of its side
  price       quote asset per base asset
  quantity    base asset resting at this price
  cumulative  base asset from the best price to this one
  orders      number of orders at this price; null where a snapshot stands in for older events

Example
  SELECT * FROM analytics.book_at('BTC-USD', now() - interval '1 hour', 3);
$$;
