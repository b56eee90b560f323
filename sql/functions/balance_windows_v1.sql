-- What lies between a stored state of all balances and a moment, book by book.
-- The stored state is the closing of a settled day, or, for null, what balances holds now.
-- Arguments: the moment; the day or null.
-- Result: a row per book. Its entries with posted_at in [from_at, to_at] and sequence in
-- (after_sequence, to_sequence], times direction (1: they come after the stored state, -1: they are
-- in it and come after the moment), lead from the stored state to the moment.
-- Errors: 22023 when part of what lies between is in ranges that are retired. Locks: none.
CREATE FUNCTION exchange.balance_windows_v1(p_at timestamptz, p_day date)
RETURNS SETOF exchange.book_window
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
DECLARE
    c_last CONSTANT bigint := 9223372036854775807;
    v_next CONSTANT timestamptz := p_at + interval '1 microsecond';
    v_book record;
BEGIN
    FOR v_book IN
        SELECT k.instrument_id, coalesce(b.to_sequence, 0) AS bound,
               coalesce(
                   CASE k.instrument_id WHEN 0 THEN
                       (SELECT h.posted_at FROM house_entries h WHERE h.sequence = b.to_sequence)
                   END,
                   (SELECT e.happened_at FROM order_events e
                    WHERE e.instrument_id = k.instrument_id AND e.sequence = b.to_sequence),
                   (SELECT t.traded_at FROM trades t
                    WHERE t.instrument_id = k.instrument_id AND t.sequence = b.to_sequence),
                   '-infinity') AS bound_at,
               coalesce(r.sequence, 0) AS retired,
               coalesce(
                   (SELECT e.happened_at FROM order_events e
                    WHERE e.instrument_id = k.instrument_id AND e.sequence = r.sequence + 1),
                   (SELECT t.traded_at FROM trades t
                    WHERE t.instrument_id = k.instrument_id AND t.sequence = r.sequence + 1),
                   '-infinity') AS kept_from
        FROM (SELECT i.instrument_id FROM instruments i UNION ALL SELECT 0) k
        LEFT JOIN settlement_bounds b ON b.day = p_day AND b.instrument_id = k.instrument_id
        LEFT JOIN kept_after r ON r.instrument_id = k.instrument_id
    LOOP
        IF v_book.retired > 0 AND (CASE WHEN p_day IS NOT NULL AND v_book.bound_at <= p_at
                                        THEN v_book.bound < v_book.retired
                                        ELSE p_at < v_book.kept_from END) THEN
            RAISE EXCEPTION 'what moved balances around % is no longer in the tables', p_at
                USING ERRCODE = '22023', HINT = 'Ask for a later moment: older history is retired.';
        END IF;
        IF p_day IS NULL THEN
            RETURN NEXT (v_book.instrument_id, -1, v_next, timestamptz 'infinity',
                         0::bigint, c_last)::book_window;
        ELSIF v_book.bound_at <= p_at THEN
            RETURN NEXT (v_book.instrument_id, 1, v_book.bound_at, p_at,
                         v_book.bound, c_last)::book_window;
        ELSE
            RETURN NEXT (v_book.instrument_id, -1, v_next, v_book.bound_at,
                         0::bigint, v_book.bound)::book_window;
        END IF;
    END LOOP;
END
$$;
