-- The book of an instrument as it stood after one of its events.
-- Rebuilt from what is nearer: the newest snapshot at or before it (the empty book of sequence 0
-- when there is none) and the events after that; or the orders that rest now, less the events since.
-- An order whose trades are still under way at that sequence does not rest yet.
-- Arguments: instrument number; sequence.
-- Result: a row per level, in no order. orders is how many rest there; null when it was rebuilt from
-- a snapshot, which knows levels only.
-- Errors: 22023 for a sequence that is not committed, or whose history is gone. Locks: none.
CREATE FUNCTION exchange.book_at_v1(p_instrument_id integer, p_sequence bigint)
RETURNS TABLE (side exchange.side, price numeric, quantity numeric, orders bigint)
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_last bigint := (SELECT s.sequence FROM shard s WHERE s.instrument_id = p_instrument_id);
    v_snapshot book_snapshots%ROWTYPE;
    v_base bigint;
    v_taker bigint;
BEGIN
    IF p_sequence IS NULL OR p_sequence NOT BETWEEN 0 AND v_last THEN
        RAISE EXCEPTION 'there is no sequence %: the instrument is at %',
            coalesce(p_sequence::text, 'null'), v_last USING ERRCODE = '22023';
    END IF;
    SELECT * INTO v_snapshot FROM book_snapshots b
    WHERE b.instrument_id = p_instrument_id AND b.sequence <= p_sequence
    ORDER BY b.sequence DESC LIMIT 1;
    v_base := coalesce(v_snapshot.sequence, 0);
    v_taker := (SELECT t.taker_order_no FROM trades t
                WHERE t.instrument_id = p_instrument_id AND t.sequence = p_sequence + 1);

    IF v_last - p_sequence < p_sequence - v_base THEN
        RETURN QUERY
        SELECT l.side, l.price, sum(l.quantity), count(*)
        FROM (
            SELECT r.order_no, r.side, r.price, sum(r.quantity) AS quantity
            FROM (
                SELECT o.order_no, o.side, o.price, o.quantity - o.filled_quantity AS quantity
                FROM orders o
                WHERE o.instrument_id = p_instrument_id
                  AND o.status IN ('open', 'partially_filled')
                UNION ALL
                SELECT c.order_no, c.side, c.price, -c.quantity
                FROM book_changes_v1(p_instrument_id, p_sequence, v_last) c
            ) r
            WHERE r.order_no IS DISTINCT FROM v_taker
            GROUP BY r.order_no, r.side, r.price
            HAVING sum(r.quantity) <> 0
        ) l
        GROUP BY l.side, l.price;
        RETURN;
    END IF;

    IF p_sequence > v_base THEN
        PERFORM check_history_v1(p_instrument_id, v_base + 1);
    END IF;
    RETURN QUERY
    SELECT l.side, l.price, sum(l.quantity), CASE WHEN v_base = 0 THEN count(*) END
    FROM (
        SELECT 'buy'::side, b.price, b.quantity
        FROM unnest(v_snapshot.bid_prices, v_snapshot.bid_quantities) AS b(price, quantity)
        UNION ALL
        SELECT 'sell', a.price, a.quantity
        FROM unnest(v_snapshot.ask_prices, v_snapshot.ask_quantities) AS a(price, quantity)
        UNION ALL
        SELECT c.side, c.price, c.quantity
        FROM book_changes_v1(p_instrument_id, v_base, p_sequence) c
        WHERE c.order_no IS DISTINCT FROM v_taker
    ) l(side, price, quantity)
    GROUP BY l.side, l.price
    HAVING sum(l.quantity) <> 0;
END
$$;
