-- The settled days whose statements can be told: nothing of what they covered is retired.
-- Result: days, oldest first, and how many clients have a statement. Locks: none.
CREATE FUNCTION exchange.list_statement_days_v1() RETURNS TABLE (day date, clients bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT r.day, (SELECT count(DISTINCT c.client_no) FROM closing_balances c
                   WHERE c.day = r.day AND c.client_no > 0)
    FROM settlement_runs r
    WHERE NOT EXISTS (
        SELECT FROM settlement_bounds b JOIN kept_after k USING (instrument_id)
        WHERE b.day = r.day AND b.instrument_id > 0
          AND b.to_sequence > b.from_sequence AND b.from_sequence < k.sequence)
    ORDER BY r.day
$$;
