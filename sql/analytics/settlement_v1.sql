CREATE FUNCTION analytics.settlement(p_day date) RETURNS TABLE (
    run_no bigint, settled_at timestamptz, client_id text, entry bigint, asset text, amount numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM settlement_runs r WHERE r.day = p_day) THEN
        RAISE EXCEPTION '% is not settled', coalesce(p_day::text, 'null') USING ERRCODE = '22023';
    END IF;
    RETURN QUERY
    SELECT r.run_no, r.settled_at, c.client_id, s.sequence, a.asset, trim_scale(p.amount)
    FROM settlement_runs r
    JOIN settlement_clients s USING (day)
    JOIN postings p ON p.instrument_id = 0 AND p.sequence = s.sequence
                   AND p.client_no = s.client_no
    JOIN clients c ON c.client_no = s.client_no
    JOIN assets a USING (asset_id)
    WHERE r.day = p_day
    ORDER BY c.client_id, a.asset;
END
$$;
COMMENT ON FUNCTION analytics.settlement IS $$
What the settlement of a day posted: one entry of the house book per client, an amount per asset.

Arguments
  p_day  the day that was settled

Columns (a row per client and asset)
  run_no      number of the run; a day is settled once
  settled_at  when it ran
  client_id   the client
  entry       number of the client's entry in the house book
  asset       the asset
  amount      posted to the client, and with the other sign to @settlement

Example
  SELECT client_id, asset, amount FROM analytics.settlement(current_date - 1);
$$;
