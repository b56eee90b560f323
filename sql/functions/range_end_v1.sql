-- The time of the last entry or event in a range of sequences of one book, null for none.
-- Arguments: instrument number, or 0 for the house's book; first and last sequence. Locks: none.
CREATE FUNCTION exchange.range_end_v1(
    p_instrument_id integer, p_first bigint, p_last bigint
) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    RETURN greatest(
        (SELECT e.happened_at FROM order_events e WHERE e.instrument_id = p_instrument_id
         AND e.sequence BETWEEN p_first AND p_last ORDER BY e.sequence DESC LIMIT 1),
        (SELECT e.posted_at FROM ledger_entries e WHERE e.instrument_id = p_instrument_id
         AND e.sequence BETWEEN p_first AND p_last ORDER BY e.sequence DESC LIMIT 1));
END
$$;
