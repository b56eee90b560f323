-- Keep the book of an instrument as it is committed now: its full depth, and the engine's state.
-- One statement reads the shard, the resting orders and the levels, so all of it is of one sequence,
-- and matching is not stopped. There is one snapshot of each kind per sequence: a second of the same
-- is not stored, and costs two look-ups.
-- The engine's state is left out while the newest one is young, 50 microseconds for each order in it
-- (10 seconds for 200,000): it is large, and whoever asks for depth, over and over, must not have it
-- written over and over.
-- Argument: instrument number.
-- Result: one row: the number of the depth snapshot, its sequence, and how many orders are in the
-- engine's state, null when that was not stored now. Errors: EX005 for an unknown instrument.
-- Locks: none but the rows it inserts.
CREATE FUNCTION exchange.take_snapshot_v1(p_instrument_id integer)
RETURNS TABLE (snapshot_id bigint, sequence bigint, orders bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_sequence bigint;
    v_orders bigint;
    v_has_depth boolean;
    v_engine_due boolean;
BEGIN
    SELECT s.sequence,
           EXISTS (SELECT FROM book_snapshots b
                   WHERE b.instrument_id = s.instrument_id AND b.sequence = s.sequence),
           NOT EXISTS (SELECT FROM engine_snapshots e
                       WHERE e.instrument_id = s.instrument_id
                         AND (e.sequence = s.sequence
                              OR e.taken_at + e.orders * interval '50 microseconds'
                                  > clock_timestamp()))
    INTO v_sequence, v_has_depth, v_engine_due
    FROM shard s WHERE s.instrument_id = p_instrument_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no instrument number %', p_instrument_id USING ERRCODE = 'EX005';
    END IF;

    IF v_engine_due OR NOT v_has_depth THEN
        WITH standing AS MATERIALIZED (
            SELECT * FROM shard WHERE instrument_id = p_instrument_id
        ), levels AS MATERIALIZED (
            SELECT o.side, o.price, sum(o.quantity - o.filled_quantity) AS quantity
            FROM orders o
            WHERE o.instrument_id = p_instrument_id AND o.status IN ('open', 'partially_filled')
            GROUP BY o.side, o.price
        ), depth AS (
            INSERT INTO book_snapshots (instrument_id, sequence, bid_prices, bid_quantities,
                                        ask_prices, ask_quantities)
            SELECT s.instrument_id, s.sequence,
                   ARRAY(SELECT price FROM levels WHERE side = 'buy' ORDER BY price DESC),
                   ARRAY(SELECT quantity FROM levels WHERE side = 'buy' ORDER BY price DESC),
                   ARRAY(SELECT price FROM levels WHERE side = 'sell' ORDER BY price),
                   ARRAY(SELECT quantity FROM levels WHERE side = 'sell' ORDER BY price)
            FROM standing s
            ON CONFLICT (instrument_id, sequence) DO NOTHING
        ), parts AS MATERIALIZED (
            SELECT p.* FROM engine_parts_v1(p_instrument_id) p WHERE v_engine_due
        ), head AS (
            INSERT INTO engine_snapshots (instrument_id, sequence, format, stream_id, order_no,
                                          trade_no, orders, parts)
            SELECT s.instrument_id, s.sequence, 1, s.last_stream_id, s.order_no, s.trade_no,
                   (SELECT coalesce(sum(p.orders), 0) FROM parts p), (SELECT count(*) FROM parts)
            FROM standing s WHERE v_engine_due
            ON CONFLICT (instrument_id, sequence) DO NOTHING
            RETURNING sequence, orders
        ), body AS (
            INSERT INTO engine_snapshot_parts (instrument_id, sequence, part, status, orders,
                                               numbers, texts, digest)
            SELECT p_instrument_id, h.sequence, p.part, p.status, p.orders, p.numbers, p.texts,
                   sha256(p.numbers || convert_to(p.texts, 'UTF8'))
            FROM head h CROSS JOIN parts p
        )
        SELECT s.sequence, h.orders INTO v_sequence, v_orders
        FROM standing s LEFT JOIN head h ON true;
    END IF;

    RETURN QUERY
    SELECT b.snapshot_id, b.sequence, v_orders
    FROM book_snapshots b
    WHERE b.instrument_id = p_instrument_id AND b.sequence = v_sequence;
END
$$;
