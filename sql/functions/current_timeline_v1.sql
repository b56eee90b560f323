-- Tell which timeline this database is on: 1, or since when its history differs, see timelines.
-- Result: the timeline.
CREATE FUNCTION exchange.current_timeline_v1() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT coalesce(max(timeline), 1) FROM timelines
$$;
