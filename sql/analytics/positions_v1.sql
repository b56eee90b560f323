CREATE FUNCTION analytics.positions(p_client text) RETURNS TABLE (
    instrument text, net_quantity numeric, total_cost numeric, avg_price numeric,
    mark_price numeric, market_value numeric, unrealized_pnl numeric, realized_pnl numeric,
    updated_at timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_client_no bigint := find_client_v1(p_client);
BEGIN
    RETURN QUERY
    SELECT i.instrument, trim_scale(p.net_quantity), trim_scale(p.total_cost),
           coalesce(divide_half_even(p.total_cost, p.net_quantity), 0),
           trim_scale(m.price), trim_scale(p.net_quantity * m.price),
           trim_scale(p.net_quantity * m.price - p.total_cost),
           trim_scale(p.realized_pnl), p.updated_at
    FROM instruments i
    JOIN positions p ON p.instrument_id = i.instrument_id AND p.client_no = v_client_no
    CROSS JOIN LATERAL (SELECT mark_price_v1(i.instrument_id) AS price) m
    ORDER BY i.instrument_id;
END
$$;
COMMENT ON FUNCTION analytics.positions IS $$
A client's positions now, by the average-cost method, also those that are flat again. Fees are not
in them: see analytics.pnl.

Arguments
  p_client  the client

Columns (a row per instrument the client has traded)
  instrument      the instrument
  net_quantity    base asset bought (+) less sold (-); negative is a short position
  total_cost      quote asset that the open quantity cost, with the sign of net_quantity
  avg_price       total_cost / net_quantity rounded half to even to 8 decimals; 0 when flat
  mark_price      the price it is valued at: (best bid + best ask) / 2 rounded half to even to 8
                  decimals while both sides have orders, else the last trade's
  market_value    net_quantity * mark_price
  unrealized_pnl  market_value - total_cost: what closing at the mark price would earn
  realized_pnl    quote asset that closing has earned so far, before fees
  updated_at      time of the client's last fill in the instrument

Example
  SELECT instrument, net_quantity, unrealized_pnl FROM analytics.positions('client-A');
$$;
