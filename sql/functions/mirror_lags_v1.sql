-- How far the mirror is behind, by instrument.
-- Result: a row per instrument. mirrored_sequence is null when no mirror has begun; events and
-- seconds: how many events are not in Kafka for sure, and how old the oldest of them is.
-- Locks: none.
CREATE FUNCTION exchange.mirror_lags_v1() RETURNS TABLE (
    instrument text, mirrored_sequence bigint, sequence bigint, events bigint, seconds numeric
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
    SELECT i.instrument, m.sequence, s.sequence, s.sequence - l.mirrored,
           coalesce(greatest(0, extract(epoch FROM clock_timestamp() - coalesce(
               (SELECT e.happened_at FROM order_events e
                WHERE e.instrument_id = s.instrument_id AND e.sequence = l.mirrored + 1),
               (SELECT t.traded_at FROM trades t
                WHERE t.instrument_id = s.instrument_id AND t.sequence = l.mirrored + 1)))), 0)
    FROM shard s
    JOIN instruments i USING (instrument_id)
    JOIN kept_after k USING (instrument_id)
    LEFT JOIN mirror_offsets m USING (instrument_id)
    CROSS JOIN LATERAL (SELECT coalesce(m.sequence, k.sequence) AS mirrored) l
    ORDER BY i.instrument_id
$$;
