-- The sequence of the last event of an instrument at or before a time; 0 for none.
-- Sequences have no gaps over trades and order_events together, and time never decreases along
-- them, so a binary search finds it with some twenty-five look-ups, however long the history is.
-- What was detached from the tables counts as earlier than any time asked for. Locks: none.
CREATE FUNCTION exchange.last_sequence_at_v1(p_instrument_id integer, p_at timestamptz)
RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    -- Events up to v_low are not later than p_at, those above v_high are.
    v_low bigint := 0;
    v_high bigint := (SELECT s.sequence FROM shard s WHERE s.instrument_id = p_instrument_id);
    v_middle bigint;
BEGIN
    WHILE v_low < v_high LOOP
        v_middle := v_high - (v_high - v_low) / 2;
        IF coalesce(
            (SELECT e.happened_at FROM order_events e
             WHERE e.instrument_id = p_instrument_id AND e.sequence = v_middle),
            (SELECT t.traded_at FROM trades t
             WHERE t.instrument_id = p_instrument_id AND t.sequence = v_middle),
            '-infinity') <= p_at THEN
            v_low := v_middle;
        ELSE
            v_high := v_middle - 1;
        END IF;
    END LOOP;
    RETURN v_low;
END
$$;
