-- The number of the last order of an instrument that was created at or before a time; 0 for none.
-- Order numbers have no gaps and created_at never decreases along them, so a binary search finds
-- it with some twenty look-ups, however many orders there are. Locks: none.
CREATE FUNCTION exchange.last_order_at(p_instrument_id integer, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    -- Orders up to v_low are not later than p_at, those above v_high are.
    v_low bigint := 0;
    v_high bigint := (SELECT s.order_no FROM shard s WHERE s.instrument_id = p_instrument_id);
    v_middle bigint;
BEGIN
    WHILE v_low < v_high LOOP
        v_middle := v_high - (v_high - v_low) / 2;
        IF (SELECT o.created_at <= p_at FROM orders o
            WHERE o.instrument_id = p_instrument_id AND o.order_no = v_middle) THEN
            v_low := v_middle;
        ELSE
            v_high := v_middle - 1;
        END IF;
    END LOOP;
    RETURN v_low;
END
$$;
