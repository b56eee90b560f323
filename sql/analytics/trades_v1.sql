CREATE FUNCTION analytics.trades(
    p_instrument text DEFAULT NULL,
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now(),
    p_client text DEFAULT NULL, p_limit integer DEFAULT 1000
) RETURNS TABLE (
    trade_id text, instrument text, trade_no bigint, sequence bigint, traded_at timestamptz,
    price numeric, quantity numeric, value numeric, taker_side text,
    maker text, taker text, maker_order_id text, taker_order_id text,
    maker_fee numeric, taker_fee numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_instrument_id integer;
    v_client_no bigint;
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE EXCEPTION 'the limit must be at least 1' USING ERRCODE = '22023';
    END IF;
    IF p_instrument IS NOT NULL THEN
        v_instrument_id := (find_instrument_v1(p_instrument)).instrument_id;
    END IF;
    IF p_client IS NOT NULL THEN
        v_client_no := find_client_v1(p_client);
    END IF;
    RETURN QUERY
    SELECT i.instrument || '-' || t.trade_no, i.instrument, t.trade_no, t.sequence, t.traded_at,
           trim_scale(t.price), trim_scale(t.quantity), trim_scale(t.price * t.quantity),
           t.taker_side::text, m.client_id, k.client_id, mo.order_id, ko.order_id,
           trim_scale(t.maker_fee), trim_scale(t.taker_fee)
    FROM (
        -- One of these three reads; the planner sees the constants and drops the others.
        (SELECT t.* FROM instruments i
         CROSS JOIN LATERAL (
             SELECT t.* FROM trades t
             WHERE t.instrument_id = i.instrument_id
               AND t.traded_at >= p_from AND t.traded_at < p_to
             ORDER BY t.traded_at DESC, t.sequence DESC LIMIT p_limit) t
         WHERE v_client_no IS NULL
           AND (v_instrument_id IS NULL OR i.instrument_id = v_instrument_id))
        UNION ALL
        (SELECT t.* FROM trades t
         WHERE v_client_no IS NOT NULL AND t.maker_client_no = v_client_no
           AND (v_instrument_id IS NULL OR t.instrument_id = v_instrument_id)
           AND t.traded_at >= p_from AND t.traded_at < p_to
         ORDER BY t.traded_at DESC, t.sequence DESC LIMIT p_limit)
        UNION ALL
        (SELECT t.* FROM trades t
         WHERE v_client_no IS NOT NULL AND t.taker_client_no = v_client_no
           AND t.maker_client_no <> v_client_no
           AND (v_instrument_id IS NULL OR t.instrument_id = v_instrument_id)
           AND t.traded_at >= p_from AND t.traded_at < p_to
         ORDER BY t.traded_at DESC, t.sequence DESC LIMIT p_limit)
    ) t
    JOIN instruments i USING (instrument_id)
    JOIN clients m ON m.client_no = t.maker_client_no
    JOIN clients k ON k.client_no = t.taker_client_no
    JOIN orders mo ON mo.instrument_id = t.instrument_id AND mo.order_no = t.maker_order_no
    JOIN orders ko ON ko.instrument_id = t.instrument_id AND ko.order_no = t.taker_order_no
    ORDER BY t.traded_at DESC, t.instrument_id, t.sequence DESC
    LIMIT p_limit;
END
$$;
COMMENT ON FUNCTION analytics.trades IS $$
Single trades, newest first: each is one match of a resting order (the maker's) and an incoming one
(the taker's), at the maker's price.

Arguments
  p_instrument  only this instrument; default all
  p_from        from this time on; default 24 hours ago
  p_to          up to but not including this time; default now
  p_client      only trades that this client took part in, as maker or taker; default all
  p_limit       how many rows at most, the newest; default 1000

Columns
  trade_id        its public name, INSTRUMENT-trade_no
  instrument      what was traded
  trade_no        its number among the instrument's trades
  sequence        its number among the instrument's events
  traded_at       when
  price           quote asset per base asset
  quantity        base asset
  value           price * quantity in quote asset, exact
  taker_side      buy when the taker bought, sell when it sold
  maker           client of the resting order
  taker           client of the incoming order
  maker_order_id  the resting order
  taker_order_id  the incoming order
  maker_fee       quote asset that the maker paid; negative: a rebate
  taker_fee       quote asset that the taker paid

Example
  SELECT traded_at, price, quantity FROM analytics.trades('BTC-USD', p_limit => 10);
$$;
