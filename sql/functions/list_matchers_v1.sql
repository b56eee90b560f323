-- The matchers that live, and how many instruments each holds.
-- Result: by name; alive_left_ms is how long it counts as alive without another heartbeat.
-- Locks: none.
CREATE FUNCTION exchange.list_matchers_v1() RETURNS TABLE (
    owner text, instruments integer, alive_left_ms integer
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT m.owner,
           (SELECT count(*)::integer FROM shard s
            WHERE s.owner = m.owner AND s.lease_until > clock_timestamp()),
           (1000 * extract(epoch FROM m.alive_until - clock_timestamp()))::integer
    FROM matchers m WHERE m.alive_until > clock_timestamp()
    ORDER BY m.owner
$$;
