CREATE FUNCTION analytics.fee_revenue(
    p_from timestamptz DEFAULT now() - interval '24 hours', p_to timestamptz DEFAULT now()
) RETURNS TABLE (
    segment text, role text, asset text, fees numeric, quote_volume numeric,
    effective_bps numeric, fill_count bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM check_range_v1(p_from, p_to);
    RETURN QUERY
    SELECT g.segment, s.role, a.asset, trim_scale(sum(s.fees)), trim_scale(sum(s.value)),
           divide_half_even(sum(s.fees) * 10000, sum(s.value)), sum(s.n)::bigint
    FROM (
        SELECT p.instrument_id, l.role, l.segment_id, l.fees, p.value, p.n
        FROM (
            SELECT t.instrument_id, t.maker_segment_id AS maker, t.taker_segment_id AS taker,
                   sum(t.maker_fee) AS maker_fees, sum(t.taker_fee) AS taker_fees,
                   sum(t.price * t.quantity) AS value, count(*) AS n
            FROM instruments i JOIN trades t USING (instrument_id)
            WHERE t.traded_at >= p_from AND t.traded_at < p_to
            GROUP BY 1, 2, 3
        ) p
        CROSS JOIN LATERAL (VALUES
            ('maker', p.maker, p.maker_fees), ('taker', p.taker, p.taker_fees)
        ) AS l(role, segment_id, fees)
    ) s
    JOIN instruments i USING (instrument_id)
    JOIN assets a ON a.asset_id = i.quote_asset_id
    JOIN client_segments g USING (segment_id)
    GROUP BY g.segment_id, g.segment, s.role, a.asset
    ORDER BY g.segment_id, s.role, a.asset;
END
$$;
COMMENT ON FUNCTION analytics.fee_revenue IS $$
What the house earned in fees, by segment of clients, by role and by asset. A fill counts for the
segment that its client belonged to at the time.

Arguments
  p_from  from this time on; default 24 hours ago
  p_to    up to but not including this time; default now

Columns
  segment        the clients' segment
  role           maker or taker
  asset          the quote asset that the amounts are in
  fees           earned; negative: rebates paid
  quote_volume   value of the fills
  effective_bps  fees in basis points of quote_volume, rounded half to even to 8 decimals
  fill_count     number of fills

Example
  SELECT * FROM analytics.fee_revenue(date_trunc('month', now()));
$$;
