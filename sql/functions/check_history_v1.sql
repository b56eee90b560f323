-- Refuse to rebuild from events that are no longer in the tables (old partitions may be detached).
-- Arguments: instrument number; the first sequence that is needed. Errors: 22023.
CREATE FUNCTION exchange.check_history_v1(p_instrument_id integer, p_first bigint) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM order_events e
                   WHERE e.instrument_id = p_instrument_id AND e.sequence = p_first)
       AND NOT EXISTS (SELECT FROM trades t
                       WHERE t.instrument_id = p_instrument_id AND t.sequence = p_first) THEN
        RAISE EXCEPTION 'event % of instrument number % is no longer in the tables',
            p_first, p_instrument_id
            USING ERRCODE = '22023',
                  HINT = 'The history before it was detached, and no snapshot stands in for it.';
    END IF;
END
$$;
