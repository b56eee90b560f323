CREATE FUNCTION analytics.pnl(
    p_client text,
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now()
) RETURNS TABLE (
    instrument text, quote_asset text, realized_pnl numeric, fees_paid numeric, net_pnl numeric,
    bought_quantity numeric, sold_quantity numeric, fill_count bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_client_no bigint := find_client_v1(p_client);
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    RETURN QUERY
    WITH fills AS MATERIALIZED (
        -- Buying comes before selling when a client trades with itself, as in the commit.
        SELECT t.instrument_id, t.sequence, CASE t.taker_side WHEN 'sell' THEN 1 ELSE 2 END AS leg,
               CASE t.taker_side WHEN 'sell' THEN t.quantity ELSE -t.quantity END AS quantity,
               t.price, t.maker_fee AS fee, t.traded_at
        FROM trades t WHERE t.maker_client_no = v_client_no AND t.traded_at < p_to
        UNION ALL
        SELECT t.instrument_id, t.sequence, CASE t.taker_side WHEN 'buy' THEN 1 ELSE 2 END,
               CASE t.taker_side WHEN 'buy' THEN t.quantity ELSE -t.quantity END,
               t.price, t.taker_fee, t.traded_at
        FROM trades t WHERE t.taker_client_no = v_client_no AND t.traded_at < p_to
    ), carried AS (
        -- What came before the history that is kept.
        SELECT c.instrument_id,
               (c.net_quantity, c.total_cost, c.realized_pnl)::position_state AS state
        FROM carried_positions c WHERE c.client_no = v_client_no
    ), opening AS (
        SELECT instrument_id, coalesce(b.state, c.state) AS state
        FROM carried c
        FULL JOIN (
            SELECT f.instrument_id,
                   position_fold(c.state, f.quantity, f.price ORDER BY f.sequence, f.leg) AS state
            FROM fills f LEFT JOIN carried c USING (instrument_id)
            WHERE f.traded_at < p_from GROUP BY f.instrument_id
        ) b USING (instrument_id)
    ), during AS (
        SELECT f.instrument_id,
               (position_fold(o.state, f.quantity, f.price ORDER BY f.sequence, f.leg))
                   .realized_pnl AS realized,
               sum(f.fee) AS fees, count(*) AS n,
               coalesce(sum(f.quantity) FILTER (WHERE f.quantity > 0), 0) AS bought,
               -coalesce(sum(f.quantity) FILTER (WHERE f.quantity < 0), 0) AS sold
        FROM fills f LEFT JOIN opening o USING (instrument_id)
        WHERE f.traded_at >= p_from GROUP BY f.instrument_id
    )
    SELECT i.instrument, q.asset, trim_scale(r.realized), trim_scale(d.fees),
           trim_scale(r.realized - d.fees), trim_scale(d.bought), trim_scale(d.sold), d.n
    FROM during d
    JOIN instruments i USING (instrument_id)
    JOIN assets q ON q.asset_id = i.quote_asset_id
    LEFT JOIN opening o USING (instrument_id)
    CROSS JOIN LATERAL (
        SELECT d.realized - coalesce((o.state).realized_pnl, 0) AS realized
    ) r
    ORDER BY i.instrument_id;
END
$$;
COMMENT ON FUNCTION analytics.pnl IS $$
What a client earned by closing positions in a range of time, and what it paid in fees.

Profit is realized by the average-cost method, as in analytics.positions: closing a part earns what
it brings less its share of the cost. The cost comes from all fills before the range too.

Arguments
  p_client  the client
  p_from    from this time on; default 24 hours ago
  p_to      up to but not including this time; default now

Columns (a row per instrument the client traded in the range)
  instrument       the instrument
  quote_asset      what the amounts are in
  realized_pnl     earned by closing, before fees; negative is a loss
  fees_paid        fees of the client's fills, as maker and taker; negative: rebates outweigh them
  net_pnl          realized_pnl - fees_paid
  bought_quantity  base asset bought
  sold_quantity    base asset sold
  fill_count       fills: a trade with itself is two

Example
  SELECT * FROM analytics.pnl('client-A', date_trunc('day', now()));
$$;
