-- What a settled day consists of, book by book.
-- Argument: the day. Result: see balance_windows; direction is 1. Locks: none.
CREATE FUNCTION exchange.settlement_windows_v1(p_day date) RETURNS SETOF exchange.book_window
LANGUAGE sql STABLE SET search_path = exchange, pg_temp AS $$
    SELECT b.instrument_id, 1, timestamptz '-infinity', timestamptz 'infinity',
           b.from_sequence, b.to_sequence
    FROM settlement_bounds b WHERE b.day = p_day
$$;
