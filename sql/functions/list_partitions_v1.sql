-- The ranges of sequences that history is cut into, by book ('' is the house's).
-- Result: state is retired, full, in use or ahead; how many bytes its tables take, indexes
-- included; the time of its last entry or event, null when it has none or is detached.
-- Locks: none.
CREATE FUNCTION exchange.list_partitions_v1() RETURNS TABLE (
    instrument_id integer, instrument text, first_sequence bigint, last_sequence bigint,
    state text, bytes bigint, last_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT r.instrument_id, coalesce(i.instrument, ''), r.first_sequence, r.last_sequence,
           CASE WHEN r.retired_at IS NOT NULL THEN 'retired'
                WHEN r.last_sequence <= b.sequence THEN 'full'
                WHEN r.first_sequence <= b.sequence THEN 'in use'
                ELSE 'ahead' END,
           (SELECT coalesce(sum(pg_total_relation_size(to_regclass(
                format('exchange.%I', format('%s_i%s_s%s', t, r.instrument_id, r.first_sequence))))
            ), 0)::bigint
            FROM unnest(ARRAY['trades', 'order_events', 'ledger_entries', 'postings']) AS t),
           range_end_v1(r.instrument_id, r.first_sequence, r.last_sequence)
    FROM partition_ranges r
    JOIN (SELECT 0 AS instrument_id, h.sequence FROM house_book h
          UNION ALL SELECT s.instrument_id, s.sequence FROM shard s) b USING (instrument_id)
    LEFT JOIN instruments i USING (instrument_id)
    ORDER BY r.instrument_id, r.first_sequence
$$;
