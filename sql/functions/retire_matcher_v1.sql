-- Say that a matcher ends: from now on the others share the instruments among themselves.
-- Argument: its name. Locks: its row.
CREATE FUNCTION exchange.retire_matcher_v1(p_owner text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    DELETE FROM matchers WHERE owner = p_owner
$$;
