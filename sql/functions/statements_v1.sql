-- Statements of a settled day, some clients at a time, in the order of their names.
-- Arguments: the day; clients after this name; clients at most.
-- Result: client and, per asset, what analytics.statement says. Locks: none.
CREATE FUNCTION exchange.statements_v1(p_day date, p_after text, p_limit integer) RETURNS TABLE (
    client_id text, asset text, opening numeric, traded numeric, fees numeric, deposits numeric,
    withdrawals numeric, adjustments numeric, settlement numeric, closing numeric
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT c.client_id, s.asset, s.opening, s.traded, s.fees, s.deposits, s.withdrawals,
           s.adjustments, s.settlement, s.closing
    FROM (
        SELECT c.client_id FROM clients c
        WHERE c.client_id COLLATE "C" > p_after COLLATE "C" AND c.client_no > 0
          AND EXISTS (SELECT FROM closing_balances b
                      WHERE b.day = p_day AND b.client_no = c.client_no)
        ORDER BY c.client_id COLLATE "C" LIMIT p_limit
    ) c
    CROSS JOIN LATERAL analytics.statement(c.client_id, p_day) s
    ORDER BY c.client_id COLLATE "C", s.asset COLLATE "C"
$$;
