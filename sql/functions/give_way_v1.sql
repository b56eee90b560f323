-- Leave the processor to others in the middle of long work: sleep as long as the work took since
-- the last rest, 20 ms at most. Short work goes on: less than 3 ms at a stretch hurts nobody, and a
-- shorter sleep cannot be had.
-- Arguments: when the last rest ended; until when to give way at all, for somebody waits.
-- Result: when the last rest ended, for the next call. Locks: none.
CREATE FUNCTION exchange.give_way_v1(p_since timestamptz, p_until timestamptz) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = exchange, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF v_now - p_since < interval '3 ms' OR v_now > p_until THEN
        RETURN p_since;
    END IF;
    PERFORM pg_sleep_for(least(v_now - p_since, interval '20 ms'));
    RETURN clock_timestamp();
END
$$;
