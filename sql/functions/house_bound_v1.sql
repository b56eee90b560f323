-- The last entry of the house book that the closing of a settled day contains; 0 for none.
-- Argument: the day. Result: null for a day that is not settled. Locks: none.
CREATE FUNCTION exchange.house_bound_v1(p_day date) RETURNS bigint
LANGUAGE sql STABLE SET search_path = exchange, pg_temp AS $$
    SELECT greatest(
        coalesce((SELECT max(c.sequence) FROM settlement_clients c WHERE c.day = r.day), 0),
        coalesce((SELECT max(h.sequence) FROM house_entries h WHERE h.posted_at < r.settled_at), 0))
    FROM settlement_runs r WHERE r.day = p_day
$$;
