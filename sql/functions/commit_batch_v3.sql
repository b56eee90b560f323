-- Make one batch of applied stream entries durable: orders, trades, their ledger entries and
-- postings, balances, positions, events, dead letters and the stream position, all or nothing.
-- Positions carry their cost and what closing has earned, before fees (see add_fill). Each client's
-- fills are folded in sequence; when a client trades with itself, buying comes before selling.
--
-- Against v2: fees, and room in the partitions. What a side of a trade pays is by the instrument and
-- by the segment of its client, both kept with the trade:
--   fee = price * quantity * bps / 10000, rounded up to 16 decimals of the quote asset,
-- towards plus infinity, so in the exchange's favour, for a rebate (bps < 0) too. Fees are posted to
-- @fees in the trade's own entry. Partitions are made here when a job did not make them in time.
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
CREATE FUNCTION exchange.commit_batch_v3(
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
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_shard shard%ROWTYPE;
    v_instrument instruments%ROWTYPE;
    v_at timestamptz := from_us(p_time_us);
    v_events integer := cardinality(orders_sequence) + cardinality(trades_sequence)
        + cardinality(cancels_sequence);
    v_count integer;
    v_update record;
    v_maker_fees numeric[];
    v_taker_fees numeric[];
    v_maker_segments smallint[];
    v_taker_segments smallint[];
    v_has_fees boolean := false;
BEGIN
    SELECT * INTO v_shard FROM shard WHERE instrument_id = p_instrument_id FOR UPDATE;
    IF v_shard.epoch IS DISTINCT FROM p_epoch THEN
        RAISE EXCEPTION 'fenced: epoch % has passed to epoch %', p_epoch, v_shard.epoch
            USING ERRCODE = 'EX001';
    END IF;
    IF v_shard.last_stream_id <> p_from_stream_id THEN
        RAISE EXCEPTION 'stale: position is %, not %', v_shard.last_stream_id, p_from_stream_id
            USING ERRCODE = 'EX002';
    END IF;
    IF p_order_no <> v_shard.order_no + cardinality(orders_order_id)
       OR p_trade_no <> v_shard.trade_no + cardinality(trades_sequence)
       OR p_sequence <> v_shard.sequence + v_events
       OR p_time_us < v_shard.last_time_us THEN
        RAISE EXCEPTION 'the counters do not follow on' USING ERRCODE = 'EX003';
    END IF;
    UPDATE shard
    SET last_stream_id = p_to_stream_id, sequence = p_sequence, order_no = p_order_no,
        trade_no = p_trade_no, last_time_us = p_time_us,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    WHERE instrument_id = p_instrument_id;

    IF v_events > 0 THEN
        IF p_sequence > ALL (SELECT last_sequence FROM partition_ranges
                             WHERE instrument_id = p_instrument_id
                             ORDER BY first_sequence DESC LIMIT 1) THEN
            PERFORM make_ranges_v1(p_instrument_id, p_sequence);
        END IF;
        SELECT count(DISTINCT s) INTO v_count
        FROM unnest(orders_sequence || trades_sequence || cancels_sequence) AS s
        WHERE s > v_shard.sequence AND s <= p_sequence;
        IF v_count <> v_events THEN
            RAISE EXCEPTION 'the sequences have a hole' USING ERRCODE = 'EX003';
        END IF;
    END IF;

    IF cardinality(orders_order_id) > 0 THEN
        WITH fresh AS (
            INSERT INTO orders (
                instrument_id, order_no, order_id, client_no, side, type, price, quantity,
                filled_quantity, filled_value, status, status_reason, idempotency_key, sequence,
                created_at, updated_at)
            SELECT p_instrument_id, v_shard.order_no + o.n, o.order_id, o.client_no, o.side, o.type,
                   nullif(o.price, 0) * 0.00000001, o.quantity * 0.00000001,
                   o.filled * 0.00000001, o.value * 0.0000000000000001,
                   o.status, nullif(o.reason, ''), nullif(o.key, ''), o.sequence, v_at, v_at
            FROM unnest(orders_order_id, orders_client_no, orders_side, orders_type, orders_price,
                        orders_quantity, orders_filled, orders_value, orders_status,
                        orders_reason, orders_key, orders_sequence) WITH ORDINALITY
                AS o(order_id, client_no, side, type, price, quantity, filled, value, status,
                     reason, key, sequence, n)
            RETURNING order_no, side, type, price, quantity, status, status_reason, sequence
        )
        INSERT INTO order_events (instrument_id, sequence, kind, order_no, side, type, price,
                                  quantity, reason, happened_at)
        SELECT p_instrument_id, f.sequence,
               CASE f.status WHEN 'rejected' THEN 'rejected' ELSE 'accepted' END::event_kind,
               f.order_no, f.side, f.type, f.price, f.quantity,
               CASE f.status WHEN 'rejected' THEN f.status_reason END, v_at
        FROM fresh f;
    END IF;

    -- One by one on purpose. As one UPDATE joined to unnest() its plan, made while the table was
    -- small and kept for the session, may walk all resting orders for every batch.
    FOR v_update IN
        SELECT * FROM unnest(updates_order_no, updates_filled, updates_value, updates_status,
                             updates_reason) AS u(order_no, filled, value, status, reason)
    LOOP
        UPDATE orders o
        SET filled_quantity = o.filled_quantity + v_update.filled * 0.00000001,
            filled_value = o.filled_value + v_update.value * 0.0000000000000001,
            status = v_update.status, status_reason = nullif(v_update.reason, ''),
            updated_at = v_at
        WHERE o.instrument_id = p_instrument_id AND o.order_no = v_update.order_no
          -- Not "IN ('open', ...)": that would allow the partial indexes of resting orders, and a plan
          -- made while these were small would walk all of them for every order.
          AND o.status NOT IN ('filled', 'cancelled', 'rejected');
        IF NOT FOUND THEN
            RAISE EXCEPTION 'order % is not resting', v_update.order_no USING ERRCODE = 'EX003';
        END IF;
    END LOOP;

    IF cardinality(cancels_sequence) > 0 THEN
        INSERT INTO order_events (instrument_id, sequence, kind, order_no, side, type, price,
                                  quantity, reason, happened_at)
        SELECT p_instrument_id, c.sequence, 'cancelled', c.order_no, c.side, c.type,
               nullif(c.price, 0) * 0.00000001, c.quantity * 0.00000001, c.reason, v_at
        FROM unnest(cancels_sequence, cancels_order_no, cancels_quantity, cancels_side,
                    cancels_type, cancels_price, cancels_reason)
            AS c(sequence, order_no, quantity, side, type, price, reason);
    END IF;

    IF cardinality(trades_sequence) > 0 THEN
        SELECT * INTO STRICT v_instrument FROM instruments WHERE instrument_id = p_instrument_id;
        -- Looked up only where there is something to find: else all are in segment 1 and pay nothing.
        IF EXISTS (SELECT FROM fees WHERE instrument_id = p_instrument_id)
           OR EXISTS (SELECT FROM client_segments WHERE segment_id <> 1) THEN
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
        WITH traded AS (
            INSERT INTO trades (instrument_id, sequence, trade_no, price, quantity, taker_side,
                                maker_order_no, taker_order_no, maker_client_no, taker_client_no,
                                traded_at, maker_fee, taker_fee, maker_segment_id,
                                taker_segment_id)
            SELECT p_instrument_id, t.sequence, v_shard.trade_no + t.n, t.price * 0.00000001,
                   t.quantity * 0.00000001, t.taker_side, t.maker_order_no, t.taker_order_no,
                   t.maker_client_no, t.taker_client_no, v_at, coalesce(t.maker_fee, 0),
                   coalesce(t.taker_fee, 0), coalesce(t.maker_segment_id, 1::smallint),
                   coalesce(t.taker_segment_id, 1::smallint)
            FROM unnest(trades_sequence, trades_price, trades_quantity, trades_taker_side,
                        trades_maker_order_no, trades_taker_order_no, trades_maker_client_no,
                        trades_taker_client_no, v_maker_fees, v_taker_fees, v_maker_segments,
                        v_taker_segments) WITH ORDINALITY
                AS t(sequence, price, quantity, taker_side, maker_order_no, taker_order_no,
                     maker_client_no, taker_client_no, maker_fee, taker_fee, maker_segment_id,
                     taker_segment_id, n)
            RETURNING sequence, price, quantity, maker_client_no, taker_client_no, maker_fee,
                taker_fee,
                CASE taker_side WHEN 'buy' THEN taker_client_no ELSE maker_client_no END AS buyer,
                CASE taker_side WHEN 'buy' THEN maker_client_no ELSE taker_client_no END AS seller
        ), entered AS (
            INSERT INTO ledger_entries (instrument_id, sequence, kind, posted_at)
            SELECT p_instrument_id, sequence, 'trade', v_at FROM traded
        ), posted AS (
            INSERT INTO postings (instrument_id, sequence, leg, client_no, asset_id, amount)
            SELECT p_instrument_id, t.sequence, l.leg, l.client_no, l.asset_id, l.amount
            FROM traded t
            CROSS JOIN LATERAL (VALUES
                (1, t.buyer, v_instrument.base_asset_id, t.quantity),
                (2, t.seller, v_instrument.base_asset_id, -t.quantity),
                (3, t.seller, v_instrument.quote_asset_id, t.price * t.quantity),
                (4, t.buyer, v_instrument.quote_asset_id, -(t.price * t.quantity))
            ) AS l(leg, client_no, asset_id, amount)
            UNION ALL
            SELECT p_instrument_id, t.sequence, l.leg, l.client_no, v_instrument.quote_asset_id,
                   l.amount
            FROM traded t
            CROSS JOIN LATERAL (VALUES
                (5, t.taker_client_no, -t.taker_fee), (6, -2, t.taker_fee),
                (7, t.maker_client_no, -t.maker_fee), (8, -2, t.maker_fee)
            ) AS l(leg, client_no, amount)
            WHERE v_has_fees AND l.amount <> 0
            RETURNING client_no, asset_id, amount
        ), balanced AS (
            INSERT INTO balances AS b (client_no, asset_id, instrument_id, posted)
            SELECT client_no, asset_id, p_instrument_id, sum(amount)
            FROM posted GROUP BY client_no, asset_id
            ON CONFLICT (client_no, asset_id, instrument_id)
                DO UPDATE SET posted = b.posted + excluded.posted
        )
        -- The rows read are those written: the shard row's lock keeps every other writer out.
        INSERT INTO positions (instrument_id, client_no, net_quantity, total_cost, realized_pnl,
                               updated_at)
        SELECT p_instrument_id, f.client_no, (f.state).net_quantity, (f.state).total_cost,
               (f.state).realized_pnl, v_at
        FROM (
            SELECT l.client_no,
                   position_fold(
                       (p.net_quantity, p.total_cost, p.realized_pnl)::position_state,
                       l.quantity, t.price ORDER BY t.sequence, l.leg) AS state
            FROM traded t
            CROSS JOIN LATERAL (VALUES
                (1, t.buyer, t.quantity), (2, t.seller, -t.quantity)
            ) AS l(leg, client_no, quantity)
            LEFT JOIN positions p
                ON p.instrument_id = p_instrument_id AND p.client_no = l.client_no
            GROUP BY l.client_no
        ) f
        ON CONFLICT (instrument_id, client_no)
            DO UPDATE SET net_quantity = excluded.net_quantity, total_cost = excluded.total_cost,
                          realized_pnl = excluded.realized_pnl, updated_at = excluded.updated_at;
    END IF;

    IF cardinality(dead_stream_id) > 0 THEN
        INSERT INTO dead_letters (instrument_id, stream_id, payload, error)
        SELECT p_instrument_id, d.stream_id, d.payload, d.error
        FROM unnest(dead_stream_id, dead_payload, dead_error) AS d(stream_id, payload, error);
    END IF;
END
$$;
