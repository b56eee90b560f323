-- Open the book of an instrument, all of it as the calling statement sees it, to be read bit by bit:
-- what is fetched later in the transaction is still of that one sequence.
-- Arguments: instrument number; how many orders make a page.
-- Result: one row, or none for an unknown instrument: the shard's counters; a cursor of the levels
-- (side, price, quantity), best first, bids before asks; a cursor of the pages (status, and what
-- load_orders gives).
-- STABLE: that is what makes both cursors see what the calling statement sees. Locks: none.
-- Levels come in the order of an index and need neither hash nor sort, which would read all at once.
CREATE FUNCTION exchange.open_book_v1(p_instrument_id integer, p_page integer) RETURNS TABLE (
    sequence bigint, stream_id text, order_no bigint, trade_no bigint,
    levels refcursor, pages refcursor
)
LANGUAGE plpgsql STABLE SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_hashagg = off SET enable_sort = off
SET max_parallel_workers_per_gather = 0 AS $$
#variable_conflict use_column
BEGIN
    SELECT s.sequence, s.last_stream_id, s.order_no, s.trade_no
    INTO sequence, stream_id, order_no, trade_no
    FROM shard s WHERE s.instrument_id = p_instrument_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    OPEN levels NO SCROLL FOR
        (SELECT o.side, o.price, sum(o.quantity - o.filled_quantity) AS quantity
         FROM orders o
         WHERE o.instrument_id = p_instrument_id AND o.side = 'buy'
           AND o.status IN ('open', 'partially_filled')
         GROUP BY o.side, o.price ORDER BY o.price DESC)
        UNION ALL
        (SELECT o.side, o.price, sum(o.quantity - o.filled_quantity) AS quantity
         FROM orders o
         WHERE o.instrument_id = p_instrument_id AND o.side = 'sell'
           AND o.status IN ('open', 'partially_filled')
         GROUP BY o.side, o.price ORDER BY o.price);
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
