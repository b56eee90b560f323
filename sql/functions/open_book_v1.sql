-- Open the book of an instrument, all of it as the calling statement sees it, to be read bit by bit:
-- what is fetched later in the transaction is still of that one sequence.
-- Arguments: instrument number; how many orders make a page.
-- Result: one row, or none for an unknown instrument: the shard's counters; a cursor of the levels
-- (sides, prices, quantities) that each page adds to; and one of the pages (status, orders, numbers,
-- texts; see load_orders). A page is read when it is fetched.
-- STABLE: that is what makes both cursors see what the calling statement sees. Locks: none.
CREATE FUNCTION exchange.open_book_v1(p_instrument_id integer, p_page integer) RETURNS TABLE (
    sequence bigint, stream_id text, order_no bigint, trade_no bigint,
    levels refcursor, pages refcursor
)
LANGUAGE plpgsql STABLE SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    SELECT s.sequence, s.last_stream_id, s.order_no, s.trade_no
    INTO sequence, stream_id, order_no, trade_no
    FROM shard s WHERE s.instrument_id = p_instrument_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    OPEN levels NO SCROLL FOR
        WITH RECURSIVE page AS (
            SELECT s.status, p.*
            FROM unnest(ARRAY['open', 'partially_filled']::order_status[]) AS s(status)
            CROSS JOIN LATERAL load_levels_v1(p_instrument_id, s.status, 0, p_page) p
            UNION ALL
            SELECT l.status, p.*
            FROM page l
            CROSS JOIN LATERAL load_levels_v1(
                p_instrument_id, l.status, l.last_order_no, p_page) p
        )
        SELECT sides, prices, quantities FROM page;
    OPEN pages NO SCROLL FOR
        WITH RECURSIVE page AS (
            SELECT s.status, p.*
            FROM unnest(ARRAY['open', 'partially_filled']::order_status[]) AS s(status)
            CROSS JOIN LATERAL load_orders_v2(p_instrument_id, s.status, 0, NULL, p_page) p
            UNION ALL
            SELECT l.status, p.*
            FROM page l
            CROSS JOIN LATERAL load_orders_v2(
                p_instrument_id, l.status, l.last_order_no, NULL, p_page) p
        )
        SELECT status, orders, numbers, texts FROM page;
    RETURN NEXT;
END
$$;
