CREATE FUNCTION analytics.trial_balance(p_at timestamptz DEFAULT now()) RETURNS TABLE (
    asset text, clients numeric, fees numeric, world numeric, settlement numeric, total numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_day date := nearest_closing_v1(p_at);
BEGIN
    RETURN QUERY
    SELECT a.asset,
           trim_scale(coalesce(sum(s.amount) FILTER (WHERE s.client_no > 0), 0)),
           trim_scale(coalesce(sum(s.amount) FILTER (WHERE s.client_no = -2), 0)),
           trim_scale(coalesce(sum(s.amount) FILTER (WHERE s.client_no = -1), 0)),
           trim_scale(coalesce(sum(s.amount) FILTER (WHERE s.client_no = -3), 0)),
           trim_scale(sum(s.amount))
    FROM (
        SELECT b.client_no, b.asset_id, b.posted FROM balances b WHERE v_day IS NULL
        UNION ALL
        SELECT c.client_no, c.asset_id, c.posted FROM closing_balances c WHERE c.day = v_day
        UNION ALL
        SELECT m.client_no, m.asset_id, m.amount
        FROM balance_windows_v1(p_at, v_day) w CROSS JOIN LATERAL book_totals_v1(w) m
    ) s(client_no, asset_id, amount)
    JOIN assets a USING (asset_id)
    GROUP BY a.asset_id, a.asset
    ORDER BY a.asset;
END
$$;
COMMENT ON FUNCTION analytics.trial_balance IS $$
The whole ledger on one page: what each kind of account holds of each asset, now or at a moment in
the past. Every entry balances, so every total is 0, always.

Arguments
  p_at  the moment, entries of that microsecond included; default now

Columns (a row per asset)
  asset       the asset
  clients     all clients together
  fees        the house's fee account, @fees
  world       the outside, @world: what was withdrawn less what was deposited
  settlement  what is being settled, @settlement
  total       the sum of the four: 0

Example
  SELECT * FROM analytics.trial_balance();
$$;
