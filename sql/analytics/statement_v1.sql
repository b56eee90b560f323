CREATE FUNCTION analytics.statement(p_client text, p_day date) RETURNS TABLE (
    asset text, opening numeric, traded numeric, fees numeric, deposits numeric,
    withdrawals numeric, adjustments numeric, settlement numeric, closing numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_client_no bigint := find_client_v1(p_client);
    v_settled boolean := EXISTS (SELECT FROM settlement_runs r WHERE r.day = p_day);
    v_begin timestamptz := p_day::timestamp AT TIME ZONE 'UTC';
    v_end timestamptz := (p_day + 1)::timestamp AT TIME ZONE 'UTC' - interval '1 microsecond';
    v_windows book_window[];
BEGIN
    IF p_day IS NULL THEN
        RAISE EXCEPTION 'which day?' USING ERRCODE = '22023';
    END IF;
    IF v_settled THEN
        v_windows := ARRAY(SELECT w FROM settlement_windows_v1(p_day) w);
    ELSE
        v_windows := ARRAY(
            SELECT (k.instrument_id, 1, CASE WHEN s.day IS NULL THEN v_begin ELSE '-infinity' END,
                    v_end, coalesce(s.to_sequence, 0), 9223372036854775807)::book_window
            FROM (SELECT i.instrument_id FROM instruments i UNION ALL SELECT 0) k
            LEFT JOIN settlement_bounds s
                ON s.day = p_day - 1 AND s.instrument_id = k.instrument_id);
    END IF;
    RETURN QUERY
    WITH ended AS (
        SELECT c.asset_id, c.posted FROM closing_balances c
        WHERE v_settled AND c.day = p_day AND c.client_no = v_client_no
        UNION ALL
        SELECT b.asset_id, b.posted FROM balances_at_v1(v_client_no, v_end) b WHERE NOT v_settled
    ), moved AS (
        SELECT m.asset_id, sum(m.amount) AS amount,
               sum(m.amount) FILTER (WHERE m.kind = 'trade') AS traded,
               sum(m.amount) FILTER (WHERE m.kind = 'fee') AS fees,
               sum(m.amount) FILTER (WHERE m.kind = 'deposit') AS deposits,
               sum(m.amount) FILTER (WHERE m.kind = 'withdrawal') AS withdrawals,
               sum(m.amount) FILTER (WHERE m.kind = 'adjustment') AS adjustments,
               sum(m.amount) FILTER (WHERE m.kind = 'settlement') AS settled
        FROM client_movements_v1(v_client_no, v_windows) m
        GROUP BY m.asset_id
    )
    SELECT a.asset, trim_scale(coalesce(e.posted, 0) - coalesce(m.amount, 0)),
           trim_scale(coalesce(m.traded, 0)), trim_scale(coalesce(m.fees, 0)),
           trim_scale(coalesce(m.deposits, 0)), trim_scale(coalesce(m.withdrawals, 0)),
           trim_scale(coalesce(m.adjustments, 0)), trim_scale(coalesce(m.settled, 0)),
           trim_scale(coalesce(e.posted, 0))
    FROM ended e FULL JOIN moved m USING (asset_id) JOIN assets a USING (asset_id)
    ORDER BY a.asset;
END
$$;
COMMENT ON FUNCTION analytics.statement IS $$
A client's day: opening, movements and closing of every asset. opening plus all movements is
closing, exactly.

For a day that is settled, the day is what its settlement covered, and closing is what it stored;
the next day begins there. Otherwise the day is from midnight to midnight UTC.

Arguments
  p_client  the client
  p_day     the day

Columns (a row per asset)
  asset        the asset
  opening      balance at the beginning of the day
  traded       received (+) and given (-) in trades
  fees         fees paid (-), rebates received (+)
  deposits     paid in from outside
  withdrawals  paid out (-)
  adjustments  corrections by the house
  settlement   posted by the settlement of the day
  closing      balance at the end of the day

Example
  SELECT * FROM analytics.statement('client-A', current_date - 1);
$$;
