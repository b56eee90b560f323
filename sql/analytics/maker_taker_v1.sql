CREATE FUNCTION analytics.maker_taker(
    p_instrument text,
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now(),
    p_per_client boolean DEFAULT false
) RETURNS TABLE (
    client_id text, maker_trades bigint, taker_trades bigint, maker_volume numeric,
    taker_volume numeric, maker_quote_volume numeric, taker_quote_volume numeric,
    maker_fees numeric, taker_fees numeric, maker_share numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_instrument instruments := find_instrument_v1(p_instrument);
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    RETURN QUERY
    SELECT c.client_id, s.maker_trades, s.taker_trades,
           trim_scale(s.maker_quantity), trim_scale(s.taker_quantity),
           trim_scale(s.maker_value), trim_scale(s.taker_value),
           trim_scale(s.maker_fees), trim_scale(s.taker_fees),
           divide_half_even(s.maker_quantity, s.maker_quantity + s.taker_quantity)
    FROM (
        SELECT r.client_no,
               coalesce(sum(r.n) FILTER (WHERE r.making), 0)::bigint AS maker_trades,
               coalesce(sum(r.n) FILTER (WHERE NOT r.making), 0)::bigint AS taker_trades,
               coalesce(sum(r.quantity) FILTER (WHERE r.making), 0) AS maker_quantity,
               coalesce(sum(r.quantity) FILTER (WHERE NOT r.making), 0) AS taker_quantity,
               coalesce(sum(r.value) FILTER (WHERE r.making), 0) AS maker_value,
               coalesce(sum(r.value) FILTER (WHERE NOT r.making), 0) AS taker_value,
               coalesce(sum(r.fee) FILTER (WHERE r.making), 0) AS maker_fees,
               coalesce(sum(r.fee) FILTER (WHERE NOT r.making), 0) AS taker_fees
        FROM (
            SELECT CASE WHEN p_per_client THEN l.client_no END AS client_no, l.making,
                   sum(p.n) AS n, sum(p.quantity) AS quantity, sum(p.value) AS value,
                   sum(CASE WHEN l.making THEN p.maker_fees ELSE p.taker_fees END) AS fee
            FROM (
                -- By pair first: pairs are few, trades are many.
                SELECT CASE WHEN p_per_client THEN t.maker_client_no END AS maker,
                       CASE WHEN p_per_client THEN t.taker_client_no END AS taker,
                       count(*) AS n, sum(t.quantity) AS quantity,
                       sum(t.price * t.quantity) AS value,
                       sum(t.maker_fee) AS maker_fees, sum(t.taker_fee) AS taker_fees
                FROM trades t
                WHERE t.instrument_id = v_instrument.instrument_id
                  AND t.traded_at >= p_from AND t.traded_at < p_to
                GROUP BY 1, 2
            ) p
            CROSS JOIN LATERAL (VALUES (p.maker, true), (p.taker, false)) AS l(client_no, making)
            GROUP BY 1, 2
        ) r
        GROUP BY r.client_no
    ) s
    LEFT JOIN clients c ON c.client_no = s.client_no
    ORDER BY s.maker_quantity + s.taker_quantity DESC, c.client_id;
END
$$;
COMMENT ON FUNCTION analytics.maker_taker IS $$
Who gave and who took liquidity in an instrument: what was traded as maker (with an order that was
resting) and as taker (with one that came in).

Arguments
  p_instrument  the instrument, such as BTC-USD
  p_from        from this time on; default 24 hours ago
  p_to          up to but not including this time; default now
  p_per_client  a row per client, the most active first; default one row for all

Columns
  client_id           the client; null in the row for all
  maker_trades        number of trades as maker
  taker_trades        number of trades as taker
  maker_volume        base asset traded as maker
  taker_volume        base asset traded as taker
  maker_quote_volume  its value in quote asset, exact
  taker_quote_volume  its value in quote asset, exact
  maker_fees          quote asset paid in fees as maker; negative: rebates
  taker_fees          quote asset paid in fees as taker
  maker_share         maker_volume / (maker_volume + taker_volume), 8 decimals; 0.5 for all together

Example
  SELECT client_id, maker_share FROM analytics.maker_taker('BTC-USD', p_per_client => true);
$$;
