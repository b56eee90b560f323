-- Keep the book of an instrument as it is committed now: its full depth, and the engine's state.
-- Shard, levels and orders are read as one statement sees them, so all of it is of one sequence, and
-- matching is not stopped. Nor is it slowed: the work is done in small pieces, and after each it
-- rests for as long as the piece took (give_way). There is one snapshot of each kind per sequence:
-- a second of the same is not stored, and costs two look-ups.
-- The engine's state is left out while the newest one is young, 50 microseconds for each order in it
-- (10 seconds for 200,000): it is large, and whoever asks for depth, over and over, must not have it
-- written over and over. It is left out, too, while another session is taking it.
-- Arguments: instrument number; how long to give way, after which it goes on without rests, for
-- whoever waits no longer than some seconds; how many orders make a part.
-- Result: one row: the number of the depth snapshot, its sequence, and how many orders are in the
-- engine's state, null when that was not stored now. Errors: EX005 for an unknown instrument.
-- Locks: the rows it inserts, and an advisory one of the instrument, never waited for.
CREATE FUNCTION exchange.take_snapshot_v2(
    p_instrument_id integer, p_gently interval DEFAULT '2 s', p_page integer DEFAULT 2000
) RETURNS TABLE (snapshot_id bigint, sequence bigint, orders bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_until timestamptz := clock_timestamp() + p_gently;
    v_rested timestamptz := clock_timestamp();
    v_alone boolean := pg_try_advisory_xact_lock(hashtext('engine_snapshots'), p_instrument_id);
    v_sequence bigint;
    v_orders bigint;
    v_has_depth boolean;
    v_engine_due boolean;
    v_book record;
    v_levels refcursor;
    v_pages refcursor;
    v_more record;
    v_page record;
    v_part integer := 0;
    v_sides side[] := '{}';
    v_prices numeric[] := '{}';
    v_quantities numeric[] := '{}';
    v_merged integer := 0;
BEGIN
    SELECT s.sequence,
           EXISTS (SELECT FROM book_snapshots b
                   WHERE b.instrument_id = s.instrument_id AND b.sequence = s.sequence),
           v_alone AND NOT EXISTS (
               SELECT FROM engine_snapshots e
               WHERE e.instrument_id = s.instrument_id
                 AND (e.sequence = s.sequence
                      OR e.taken_at + e.orders * interval '50 microseconds' > clock_timestamp()))
    INTO v_sequence, v_has_depth, v_engine_due
    FROM shard s WHERE s.instrument_id = p_instrument_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no instrument number %', p_instrument_id USING ERRCODE = 'EX005';
    END IF;

    IF v_engine_due OR NOT v_has_depth THEN
        SELECT * INTO v_book FROM open_book_v1(p_instrument_id, p_page);
        v_sequence := v_book.sequence;
        v_levels := v_book.levels;
        v_pages := v_book.pages;

        -- Page by page: FOR would fetch fifty at once. What they add to the levels is summed up when
        -- it has doubled, which takes time for the number of levels and not for that of orders.
        LOOP
            FETCH v_levels INTO v_more;
            EXIT WHEN NOT FOUND;
            v_sides := v_sides || v_more.sides;
            v_prices := v_prices || v_more.prices;
            v_quantities := v_quantities || v_more.quantities;
            IF cardinality(v_prices) > greatest(2 * v_merged, 4000) THEN
                SELECT array_agg(l.side), array_agg(l.price), array_agg(l.quantity), count(*)
                INTO v_sides, v_prices, v_quantities, v_merged
                FROM (SELECT u.side, u.price, sum(u.quantity) AS quantity
                      FROM unnest(v_sides, v_prices, v_quantities) AS u(side, price, quantity)
                      GROUP BY u.side, u.price) l;
            END IF;
            v_rested := give_way_v1(v_rested, v_until);
        END LOOP;
        CLOSE v_levels;

        IF v_engine_due THEN
            v_orders := 0;
            LOOP
                FETCH v_pages INTO v_page;
                EXIT WHEN NOT FOUND;
                v_part := v_part + 1;
                v_orders := v_orders + v_page.orders;
                INSERT INTO engine_snapshot_parts (instrument_id, sequence, part, status, orders,
                                                   numbers, texts, digest)
                VALUES (p_instrument_id, v_sequence, v_part, v_page.status, v_page.orders,
                        v_page.numbers, v_page.texts,
                        sha256(v_page.numbers || convert_to(v_page.texts, 'UTF8')));
                v_rested := give_way_v1(v_rested, v_until);
            END LOOP;
            INSERT INTO engine_snapshots (instrument_id, sequence, format, stream_id, order_no,
                                          trade_no, orders, parts)
            VALUES (p_instrument_id, v_sequence, 1, v_book.stream_id, v_book.order_no,
                    v_book.trade_no, v_orders, v_part);
        END IF;
        CLOSE v_pages;

        -- Last, so that another's of the same sequence is hardly waited for.
        WITH levels AS MATERIALIZED (
            SELECT u.side, u.price, sum(u.quantity) AS quantity
            FROM unnest(v_sides, v_prices, v_quantities) AS u(side, price, quantity)
            GROUP BY u.side, u.price
        )
        INSERT INTO book_snapshots (instrument_id, sequence, bid_prices, bid_quantities,
                                    ask_prices, ask_quantities)
        SELECT p_instrument_id, v_sequence,
               ARRAY(SELECT price FROM levels WHERE side = 'buy' ORDER BY price DESC),
               ARRAY(SELECT quantity FROM levels WHERE side = 'buy' ORDER BY price DESC),
               ARRAY(SELECT price FROM levels WHERE side = 'sell' ORDER BY price),
               ARRAY(SELECT quantity FROM levels WHERE side = 'sell' ORDER BY price)
        ON CONFLICT (instrument_id, sequence) DO NOTHING;
    END IF;

    RETURN QUERY
    SELECT b.snapshot_id, b.sequence, v_orders
    FROM book_snapshots b
    WHERE b.instrument_id = p_instrument_id AND b.sequence = v_sequence;
END
$$;
