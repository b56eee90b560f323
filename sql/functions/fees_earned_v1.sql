-- What each instrument's trades have earned in fees so far, rebates taken off.
-- Result: a row per instrument: the asset that fees are paid in, and the balance of @fees in this
-- instrument's book, which the commits keep: nothing is added up here. Locks: none.
CREATE FUNCTION exchange.fees_earned_v1() RETURNS TABLE (instrument text, asset text, fees numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT i.instrument, a.asset, coalesce(b.posted, 0)
    FROM instruments i
    JOIN assets a ON a.asset_id = i.quote_asset_id
    LEFT JOIN balances b ON b.client_no = -2 AND b.asset_id = i.quote_asset_id
        AND b.instrument_id = i.instrument_id
    ORDER BY i.instrument_id
$$;
