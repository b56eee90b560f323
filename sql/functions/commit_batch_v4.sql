-- Make one batch of applied stream entries durable: orders, trades, their ledger entries and
-- postings, balances, positions, events, dead letters and the stream position, all or nothing.
-- Positions carry their cost and what closing has earned, before fees (see add_fill). Each client's
-- fills are folded in sequence; when a client trades with itself, buying comes before selling.
--
-- What a side of a trade pays is by the instrument and by the segment of its client, both kept with
-- the trade:
--   fee = price * quantity * bps / 10000, rounded up to 16 decimals of the quote asset,
-- towards plus infinity, so in the exchange's favour, for a rebate (bps < 0) too. Fees are posted to
-- @fees in the trade's own entry. Partitions are made here when a job did not make them in time.
--
-- Against v3: the same effects for less. Each statement costs tens of microseconds before it does
-- anything, so there are few. Rows that exist are updated where they lie (by ctid: nobody else
-- writes them while we hold the shard's row), not by an upsert, which would look, lock and write
-- twice. Every look-up is one probe of one index, whatever the planner knew of the tables when it
-- made the plan: that is what the LATERALs with OFFSET 0 and LIMIT 1 are for.
--
-- Arguments
--   instrument number, the caller's epoch, and the position it believes to be stored;
--   the position, counters and time to store, and the lease in milliseconds;
--   orders_*: each new order as it stands at the end of the batch; order numbers follow on;
--             amounts in units of 1e-8, values in 1e-16, price 0 for a market order, '' for no key
--             or reason;
--   updates_*: earlier orders that changed: what was filled now, and how they stand;
--   trades_*: in order; trade numbers follow on;
--   cancels_*: cancelled events; dead_*: entries that could not be applied.
-- Errors (nothing is stored)
--   EX001 fenced: the epoch has passed to another owner;
--   EX002 stale: the position stored is not the one given: this batch was committed before;
--   EX003 the batch contradicts itself or the database.
-- Locks: the shard row first, then only rows of this instrument: batches of different instruments
-- never wait for each other.
CREATE FUNCTION exchange.commit_batch_v4(
    p_instrument_id integer, p_epoch bigint, p_from_stream_id text,
    p_to_stream_id text, p_sequence bigint, p_order_no bigint, p_trade_no bigint,
    p_time_us bigint, p_lease_ms integer,
    orders_order_id text[], orders_client_no bigint[], orders_side exchange.side[],
    orders_type exchange.order_type[], orders_price numeric[], orders_quantity numeric[],
    orders_filled numeric[], orders_value numeric[], orders_status exchange.order_status[],
    orders_reason text[], orders_key text[], orders_sequence bigint[],
    updates_order_no bigint[], updates_filled numeric[], updates_value numeric[],
    updates_status exchange.order_status[], updates_reason text[],
    trades_sequence bigint[], trades_price numeric[], trades_quantity numeric[],
    trades_taker_side exchange.side[], trades_maker_order_no bigint[],
    trades_taker_order_no bigint[], trades_maker_client_no bigint[],
    trades_taker_client_no bigint[],
    cancels_sequence bigint[], cancels_order_no bigint[], cancels_quantity numeric[],
    cancels_side exchange.side[], cancels_type exchange.order_type[], cancels_price numeric[],
    cancels_reason text[],
    dead_stream_id text[], dead_payload bytea[], dead_error text[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = exchange, pg_temp
-- Always by index: a plan cached while a table was small must not turn into a scan later.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET enable_memoize = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_shard shard%ROWTYPE;
    v_base_asset_id integer;
    v_quote_asset_id integer;
    v_look_up_fees boolean;
    v_at timestamptz := from_us(p_time_us);
    v_orders integer := cardinality(orders_sequence);
    v_trades integer := cardinality(trades_sequence);
    v_events integer := v_orders + v_trades + cardinality(cancels_sequence);
    v_from_sequence bigint := p_sequence - v_events;
    v_from_order_no bigint := p_order_no - v_orders;
    v_from_trade_no bigint := p_trade_no - v_trades;
    v_count integer;
    v_moved integer;
    v_room bigint;
    v_maker_fees numeric[];
    v_taker_fees numeric[];
    v_maker_segments smallint[];
    v_taker_segments smallint[];
    v_has_fees boolean := false;
BEGIN
    -- The common case first, in one statement; what is wrong is looked for when something is.
    UPDATE shard
    SET last_stream_id = p_to_stream_id, sequence = p_sequence, order_no = p_order_no,
        trade_no = p_trade_no, last_time_us = p_time_us,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    WHERE instrument_id = p_instrument_id AND epoch = p_epoch
      AND last_stream_id = p_from_stream_id AND sequence = v_from_sequence
      AND order_no = v_from_order_no AND trade_no = v_from_trade_no
      AND last_time_us <= p_time_us;
    IF NOT FOUND THEN
        SELECT * INTO v_shard FROM shard WHERE instrument_id = p_instrument_id FOR UPDATE;
        IF v_shard.epoch IS DISTINCT FROM p_epoch THEN
            RAISE EXCEPTION 'fenced: epoch % has passed to epoch %', p_epoch, v_shard.epoch
                USING ERRCODE = 'EX001';
        ELSIF v_shard.last_stream_id <> p_from_stream_id THEN
            RAISE EXCEPTION 'stale: position is %, not %', v_shard.last_stream_id, p_from_stream_id
                USING ERRCODE = 'EX002';
        END IF;
        RAISE EXCEPTION 'the counters do not follow on' USING ERRCODE = 'EX003';
    END IF;

    SELECT i.base_asset_id, i.quote_asset_id,
           EXISTS (SELECT FROM fees WHERE instrument_id = p_instrument_id)
           OR EXISTS (SELECT FROM client_segments WHERE segment_id <> 1),
           (SELECT last_sequence FROM partition_ranges WHERE instrument_id = p_instrument_id
            ORDER BY first_sequence DESC LIMIT 1),
           (SELECT count(DISTINCT s)
            FROM unnest(orders_sequence || trades_sequence || cancels_sequence) AS s
            WHERE s > v_from_sequence AND s <= p_sequence)
    INTO STRICT v_base_asset_id, v_quote_asset_id, v_look_up_fees, v_room, v_count
    FROM instruments i WHERE i.instrument_id = p_instrument_id;
    IF v_count <> v_events THEN
        RAISE EXCEPTION 'the sequences have a hole' USING ERRCODE = 'EX003';
    END IF;
    IF p_sequence > v_room THEN
        PERFORM make_ranges_v1(p_instrument_id, p_sequence);
    END IF;

    IF v_orders > 0 OR cardinality(cancels_sequence) > 0 THEN
        WITH fresh AS (
            INSERT INTO orders (
                instrument_id, order_no, order_id, client_no, side, type, price, quantity,
                filled_quantity, filled_value, status, status_reason, idempotency_key, sequence,
                created_at, updated_at)
            SELECT p_instrument_id, v_from_order_no + o.n, o.order_id, o.client_no, o.side, o.type,
                   nullif(o.price, 0) * 0.00000001, o.quantity * 0.00000001,
                   o.filled * 0.00000001, o.value * 0.0000000000000001,
                   o.status, nullif(o.reason, ''), nullif(o.key, ''), o.sequence, v_at, v_at
            FROM unnest(orders_order_id, orders_client_no, orders_side, orders_type, orders_price,
                        orders_quantity, orders_filled, orders_value, orders_status,
                        orders_reason, orders_key, orders_sequence) WITH ORDINALITY
                AS o(order_id, client_no, side, type, price, quantity, filled, value, status,
                     reason, key, sequence, n)
            RETURNING sequence, order_no, side, type, price, quantity, status, status_reason
        )
        INSERT INTO order_events (instrument_id, sequence, kind, order_no, side, type, price,
                                  quantity, reason, happened_at)
        SELECT p_instrument_id, f.sequence,
               CASE f.status WHEN 'rejected' THEN 'rejected' ELSE 'accepted' END::event_kind,
               f.order_no, f.side, f.type, f.price, f.quantity,
               CASE f.status WHEN 'rejected' THEN f.status_reason END, v_at
        FROM fresh f
        UNION ALL
        SELECT p_instrument_id, c.sequence, 'cancelled', c.order_no, c.side, c.type,
               nullif(c.price, 0) * 0.00000001, c.quantity * 0.00000001, c.reason, v_at
        FROM unnest(cancels_sequence, cancels_order_no, cancels_quantity, cancels_side,
                    cancels_type, cancels_price, cancels_reason)
            AS c(sequence, order_no, quantity, side, type, price, reason);
    END IF;

    IF cardinality(updates_order_no) > 0 THEN
        -- The first order not before the wanted one is the wanted one. Asked for with "=", the
        -- index by status would do as well in a small table, and be walked whole once it has grown.
        UPDATE orders o
        SET filled_quantity = o.filled_quantity + u.filled * 0.00000001,
            filled_value = o.filled_value + u.value * 0.0000000000000001,
            status = u.status, status_reason = nullif(u.reason, ''), updated_at = v_at
        FROM (
            SELECT r.tid, c.filled, c.value, c.status, c.reason
            FROM unnest(updates_order_no, updates_filled, updates_value, updates_status,
                        updates_reason) AS c(order_no, filled, value, status, reason)
            CROSS JOIN LATERAL (
                SELECT o.ctid AS tid, o.order_no, o.status FROM orders o
                WHERE o.instrument_id = p_instrument_id AND o.order_no >= c.order_no
                ORDER BY o.order_no LIMIT 1) r
            WHERE r.order_no = c.order_no AND r.status IN ('open', 'partially_filled')
        ) u
        WHERE o.ctid = u.tid;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_count <> cardinality(updates_order_no) THEN
            RAISE EXCEPTION 'an order is not resting' USING ERRCODE = 'EX003';
        END IF;
    END IF;

    IF v_trades > 0 THEN
        -- Looked up only where there is something to find: else all are in segment 1 and pay
        -- nothing.
        IF v_look_up_fees THEN
            SELECT array_agg(m.segment_id ORDER BY t.n), array_agg(k.segment_id ORDER BY t.n),
                   array_agg(coalesce(ceil(t.product * mf.maker_bps * 0.0001)
                                      * 0.0000000000000001, 0) ORDER BY t.n),
                   array_agg(coalesce(ceil(t.product * kf.taker_bps * 0.0001)
                                      * 0.0000000000000001, 0) ORDER BY t.n),
                   bool_or(mf.maker_bps <> 0 OR kf.taker_bps <> 0)
            INTO STRICT v_maker_segments, v_taker_segments, v_maker_fees, v_taker_fees, v_has_fees
            FROM (SELECT u.maker, u.taker, u.price * u.quantity AS product, u.n
                  FROM unnest(trades_price, trades_quantity, trades_maker_client_no,
                              trades_taker_client_no) WITH ORDINALITY
                      AS u(price, quantity, maker, taker, n)) t
            JOIN clients m ON m.client_no = t.maker
            JOIN clients k ON k.client_no = t.taker
            LEFT JOIN fees mf
                ON mf.instrument_id = p_instrument_id AND mf.segment_id = m.segment_id
            LEFT JOIN fees kf
                ON kf.instrument_id = p_instrument_id AND kf.segment_id = k.segment_id;
            IF cardinality(v_maker_fees) IS DISTINCT FROM cardinality(trades_sequence) THEN
                RAISE EXCEPTION 'a trade names an unknown client' USING ERRCODE = 'EX003';
            END IF;
        END IF;
        WITH t AS MATERIALIZED (
            SELECT u.sequence, CASE u.taker_side WHEN 'buy' THEN u.taker ELSE u.maker END AS buyer,
                   CASE u.taker_side WHEN 'buy' THEN u.maker ELSE u.taker END AS seller,
                   u.quantity * 0.00000001 AS quantity,
                   u.price * u.quantity * 0.0000000000000001 AS value,
                   u.price * 0.00000001 AS price, u.n, u.taker_side, u.maker_order_no,
                   u.taker_order_no, u.maker, u.taker, coalesce(u.maker_fee, 0) AS maker_fee,
                   coalesce(u.taker_fee, 0) AS taker_fee,
                   coalesce(u.maker_segment_id, 1::smallint) AS maker_segment_id,
                   coalesce(u.taker_segment_id, 1::smallint) AS taker_segment_id
            FROM unnest(trades_sequence, trades_price, trades_quantity, trades_taker_side,
                        trades_maker_order_no, trades_taker_order_no, trades_maker_client_no,
                        trades_taker_client_no, v_maker_fees, v_taker_fees, v_maker_segments,
                        v_taker_segments) WITH ORDINALITY
                AS u(sequence, price, quantity, taker_side, maker_order_no, taker_order_no,
                     maker, taker, maker_fee, taker_fee, maker_segment_id,
                     taker_segment_id, n)
        ), traded AS (
            INSERT INTO trades (instrument_id, sequence, trade_no, price, quantity, taker_side,
                                maker_order_no, taker_order_no, maker_client_no, taker_client_no,
                                traded_at, maker_fee, taker_fee, maker_segment_id,
                                taker_segment_id)
            SELECT p_instrument_id, t.sequence, v_from_trade_no + t.n, t.price, t.quantity,
                   t.taker_side, t.maker_order_no, t.taker_order_no, t.maker, t.taker, v_at,
                   t.maker_fee, t.taker_fee, t.maker_segment_id, t.taker_segment_id
            FROM t
        ), entered AS (
            INSERT INTO ledger_entries (instrument_id, sequence, kind, posted_at)
            SELECT p_instrument_id, sequence, 'trade', v_at FROM t
        ), posted AS (
            INSERT INTO postings (instrument_id, sequence, leg, client_no, asset_id, amount)
            SELECT p_instrument_id, t.sequence, l.leg,
                   CASE WHEN l.leg IN (1, 4) THEN t.buyer ELSE t.seller END,
                   CASE WHEN l.leg < 3 THEN v_base_asset_id
                        ELSE v_quote_asset_id END,
                   CASE l.leg WHEN 1 THEN t.quantity WHEN 2 THEN -t.quantity
                              WHEN 3 THEN t.value ELSE -t.value END
            FROM t CROSS JOIN (VALUES (1), (2), (3), (4)) AS l(leg)
            UNION ALL
            SELECT p_instrument_id, t.sequence, l.leg,
                   CASE l.leg WHEN 5 THEN t.taker WHEN 7 THEN t.maker ELSE -2 END,
                   v_quote_asset_id,
                   CASE l.leg WHEN 5 THEN -t.taker_fee WHEN 6 THEN t.taker_fee
                              WHEN 7 THEN -t.maker_fee ELSE t.maker_fee END
            FROM t CROSS JOIN (VALUES (5), (6), (7), (8)) AS l(leg)
            WHERE v_has_fees
              AND CASE WHEN l.leg < 7 THEN t.taker_fee ELSE t.maker_fee END <> 0
        ), moved AS MATERIALIZED (
            -- Per client: its position's place (null: none yet, and no accounts in this book), what
            -- it has moved of both assets, and its position after that.
            SELECT f.client_no, max(p.tid) AS tid, sum(f.quantity) AS base, sum(f.value) AS quote,
                   position_fold((p.net_quantity, p.total_cost, p.realized_pnl)::position_state,
                                 f.quantity, f.price ORDER BY f.sequence, f.leg) AS state
            FROM (
                SELECT 1 AS leg, t.sequence, t.buyer AS client_no, t.quantity, t.price,
                       -t.value - CASE t.taker_side WHEN 'buy' THEN t.taker_fee
                                                    ELSE t.maker_fee END AS value
                FROM t
                UNION ALL
                SELECT 2, t.sequence, t.seller, -t.quantity, t.price,
                       t.value - CASE t.taker_side WHEN 'buy' THEN t.maker_fee
                                                   ELSE t.taker_fee END
                FROM t
            ) f
            LEFT JOIN LATERAL (
                SELECT p.ctid AS tid, p.net_quantity, p.total_cost, p.realized_pnl FROM positions p
                WHERE p.instrument_id = p_instrument_id AND p.client_no = f.client_no
                OFFSET 0) p ON true
            GROUP BY f.client_no
        ), positioned AS (
            UPDATE positions p
            SET net_quantity = (m.state).net_quantity, total_cost = (m.state).total_cost,
                realized_pnl = (m.state).realized_pnl, updated_at = v_at
            FROM moved m WHERE p.ctid = m.tid
        ), opened AS (
            INSERT INTO positions (instrument_id, client_no, net_quantity, total_cost,
                                   realized_pnl, updated_at)
            SELECT p_instrument_id, m.client_no, (m.state).net_quantity, (m.state).total_cost,
                   (m.state).realized_pnl, v_at
            FROM moved m WHERE m.tid IS NULL
        ), balanced AS (
            UPDATE balances b SET posted = b.posted + a.amount
            FROM (
                SELECT r.tid, CASE l.n WHEN 1 THEN m.base ELSE m.quote END AS amount
                FROM moved m
                CROSS JOIN (VALUES (1), (2)) AS l(n)
                CROSS JOIN LATERAL (
                    SELECT b.ctid AS tid FROM balances b
                    WHERE b.client_no = m.client_no
                      AND b.asset_id = CASE l.n WHEN 1 THEN v_base_asset_id
                                                ELSE v_quote_asset_id END
                      AND b.instrument_id = p_instrument_id
                    OFFSET 0) r
                WHERE m.tid IS NOT NULL
            ) a
            WHERE b.ctid = a.tid
            RETURNING 1
        ), accounted AS (
            INSERT INTO balances AS b (client_no, asset_id, instrument_id, posted)
            SELECT m.client_no, l.asset_id, p_instrument_id,
                   CASE l.n WHEN 1 THEN m.base ELSE m.quote END
            FROM moved m
            CROSS JOIN (VALUES (1, v_base_asset_id), (2, v_quote_asset_id)) AS l(n, asset_id)
            WHERE m.tid IS NULL
            UNION ALL
            SELECT -2, v_quote_asset_id, p_instrument_id, sum(t.maker_fee + t.taker_fee)
            FROM t WHERE v_has_fees HAVING v_has_fees
            ON CONFLICT (client_no, asset_id, instrument_id)
                DO UPDATE SET posted = b.posted + excluded.posted
        )
        SELECT (SELECT count(*) FROM balanced), count(m.tid) INTO v_count, v_moved FROM moved m;
        IF v_count <> 2 * v_moved THEN
            RAISE EXCEPTION 'an account is missing' USING ERRCODE = 'EX003';
        END IF;
    END IF;

    IF cardinality(dead_stream_id) > 0 THEN
        INSERT INTO dead_letters (instrument_id, stream_id, payload, error)
        SELECT p_instrument_id, d.stream_id, d.payload, d.error
        FROM unnest(dead_stream_id, dead_payload, dead_error) AS d(stream_id, payload, error);
    END IF;
END
$$;
