-- Made anew at every migration from sql/invariants.sql, which alone says what must hold: the line
-- between the marks is repeated for each invariant, :name and :query filled in (sql/__init__.py).
CREATE OR REPLACE FUNCTION analytics.verify() RETURNS TABLE (invariant text, detail text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $verify$
#variable_conflict use_column
BEGIN
    -- :each
    RETURN QUERY SELECT ':name', to_jsonb(broken)::text FROM (:query) AS broken;
    -- :end
END
$verify$;
COMMENT ON FUNCTION analytics.verify IS $$
Proves the books: every violated invariant as a row, no row when all is well. It reads everything,
so give it time: SET statement_timeout = '1h' where that is needed.

The invariants: :names.

Columns
  invariant  name of what does not hold
  detail     the offending row as JSON: which entry, balance, order or trade, and by how much

Example
  SELECT * FROM analytics.verify();
$$;
