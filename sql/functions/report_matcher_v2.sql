-- Say that a matcher lives, and learn what it needs to take its share of the instruments.
-- Arguments: its name, as in shard.owner; how long it counts as alive, in milliseconds.
-- Result: one row. matchers: how many live, the caller included; place: how many of them come before
-- it by name; instruments: how many there are; free: those whose lease is free, has run out, or ends
-- so late that this server's clock cannot have given it (it went back; see acquire_shard_v2);
-- next_free_ms: until the first lease of another owner runs out unless renewed, null for none.
-- Locks: the caller's row, and those of matchers that died.
CREATE FUNCTION exchange.report_matcher_v2(p_owner text, p_alive_ms integer) RETURNS TABLE (
    matchers integer, place integer, instruments integer, free integer[], next_free_ms integer
)
LANGUAGE sql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    DELETE FROM matchers WHERE owner IN (
        SELECT m.owner FROM matchers m
        WHERE m.alive_until NOT BETWEEN clock_timestamp() - interval '1 minute'
                                    AND clock_timestamp() + interval '2 minutes'
        FOR UPDATE SKIP LOCKED);
    INSERT INTO matchers AS m (owner, alive_until)
    VALUES (p_owner, clock_timestamp() + p_alive_ms * interval '1 millisecond')
    ON CONFLICT (owner) DO UPDATE SET alive_until = excluded.alive_until;
    SELECT m.matchers, m.place, s.instruments, s.free, s.next_free_ms
    FROM (
        SELECT count(*)::integer AS matchers,
               count(*) FILTER (WHERE owner < p_owner)::integer AS place
        FROM matchers WHERE alive_until > clock_timestamp()
    ) m
    CROSS JOIN (
        SELECT count(*)::integer AS instruments,
               coalesce(array_agg(instrument_id ORDER BY instrument_id)
                        FILTER (WHERE owner IS NULL OR NOT running), '{}') AS free,
               ceil(1000 * extract(epoch FROM min(lease_until - clock_timestamp())
                   FILTER (WHERE owner <> p_owner AND running)))::integer AS next_free_ms
        FROM (
            SELECT instrument_id, owner, lease_until,
                   coalesce(lease_until BETWEEN clock_timestamp()
                            AND clock_timestamp() + interval '2 minutes', false) AS running
            FROM shard
        ) leases
    ) s
$$;
