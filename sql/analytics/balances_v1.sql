CREATE FUNCTION analytics.balances(p_client text, p_at timestamptz DEFAULT now())
RETURNS TABLE (asset text, balance numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT a.asset, trim_scale(b.posted)
    FROM balances_at_v1(find_client_v1(p_client), p_at) b JOIN assets a USING (asset_id)
    ORDER BY a.asset;
END
$$;
COMMENT ON FUNCTION analytics.balances IS $$
A client's balances, now or at a moment in the past: the sums of all postings up to then.

Computed from what is stored nearest to the moment (the balances of now, or the closing of a settled
day) and the entries between the two.

Arguments
  p_client  the client; also @world, @fees or @settlement, the accounts of the house
  p_at      the moment, entries of that microsecond included; default now

Columns (a row per asset the client has ever had)
  asset    the asset
  balance  what the client has of it; negative is owed

Example
  SELECT * FROM analytics.balances('client-A', now() - interval '1 day');
$$;
