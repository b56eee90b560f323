-- A client's balances at a moment, from the nearest stored state and what lies between.
-- Arguments: client number; the moment (entries of exactly that time are in).
-- Result: a row per asset the client ever had, also when it is 0. Locks: none.
CREATE FUNCTION exchange.balances_at_v1(p_client_no bigint, p_at timestamptz)
RETURNS TABLE (asset_id integer, posted numeric)
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_day date := nearest_closing_v1(p_at);
    v_windows book_window[] := ARRAY(SELECT w FROM balance_windows_v1(p_at, v_day) w);
BEGIN
    RETURN QUERY
    SELECT s.asset_id, sum(s.amount)
    FROM (
        SELECT b.asset_id, b.posted FROM balances b
        WHERE v_day IS NULL AND b.client_no = p_client_no
        UNION ALL
        SELECT c.asset_id, c.posted FROM closing_balances c
        WHERE c.day = v_day AND c.client_no = p_client_no
        UNION ALL
        SELECT m.asset_id, m.amount FROM client_movements_v1(p_client_no, v_windows) m
    ) s(asset_id, amount)
    GROUP BY s.asset_id;
END
$$;
