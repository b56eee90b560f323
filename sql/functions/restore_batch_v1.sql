-- Store events that were mirrored once, and what follows from them: what commit_batch stores, but
-- from facts. Fees and segments are those of the time; ledger entries, postings, balances and
-- positions are derived from the trades in the same way.
-- The stream's position is moved to this moment: what an old stream still holds was given to the lost
-- database, and must not be applied to this one.
-- Arguments
--   instrument number; the caller's epoch; the lease in milliseconds;
--   p_events: values of order events, accepted, rejected and cancelled, as the mirror wrote them;
--   p_trades: values of trades; together they follow on the stored sequence without a hole;
--   p_orders: values of orders, each as it stands after them.
-- Errors (nothing is stored): EX001 fenced; EX003 they do not follow on.
-- Locks: as commit_batch.
CREATE FUNCTION exchange.restore_batch_v1(
    p_instrument_id integer, p_epoch bigint, p_lease_ms integer,
    p_events jsonb, p_trades jsonb, p_orders jsonb
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_shard shard%ROWTYPE;
    v_instrument instruments%ROWTYPE;
    v_events bigint := jsonb_array_length(p_events) + jsonb_array_length(p_trades);
    v_sequences bigint;
    v_first bigint;
    v_last bigint;
    v_last_us bigint;
BEGIN
    SELECT * INTO v_shard FROM shard WHERE instrument_id = p_instrument_id FOR UPDATE;
    IF v_shard.epoch IS DISTINCT FROM p_epoch THEN
        RAISE EXCEPTION 'fenced: epoch % has passed to epoch %', p_epoch, v_shard.epoch
            USING ERRCODE = 'EX001';
    END IF;
    SELECT * INTO STRICT v_instrument FROM instruments WHERE instrument_id = p_instrument_id;
    SELECT count(DISTINCT e.sequence), min(e.sequence), max(e.sequence), max(e.time_us)
    INTO v_sequences, v_first, v_last, v_last_us
    FROM jsonb_to_recordset(p_events || p_trades) AS e(sequence bigint, time_us bigint);
    IF v_sequences <> v_events OR v_first <> v_shard.sequence + 1
       OR v_last <> v_shard.sequence + v_events THEN
        RAISE EXCEPTION 'sequences % to % do not follow on %', v_first, v_last, v_shard.sequence
            USING ERRCODE = 'EX003';
    END IF;
    PERFORM make_ranges_v1(p_instrument_id, v_last);

    PERFORM ensure_clients_v1(array_agg(DISTINCT o.client_id))
    FROM jsonb_to_recordset(p_orders) AS o(client_id text) HAVING count(*) > 0;
    INSERT INTO client_segments (segment)
    SELECT DISTINCT s.segment
    FROM jsonb_to_recordset(p_trades) AS t(maker_segment text, taker_segment text)
    CROSS JOIN LATERAL (VALUES (t.maker_segment), (t.taker_segment)) AS s(segment)
    ON CONFLICT DO NOTHING;

    INSERT INTO orders AS o (
        instrument_id, order_no, order_id, client_no, side, type, price, quantity, filled_quantity,
        filled_value, status, status_reason, idempotency_key, sequence, created_at, updated_at)
    SELECT p_instrument_id, n.order_no, n.order_id, c.client_no, n.side, n.type, n.price,
           n.quantity, n.filled_quantity, n.filled_value, n.status, n.status_reason,
           n.idempotency_key, coalesce(e.sequence, 0), from_us(n.created_us), from_us(n.updated_us)
    FROM jsonb_to_recordset(p_orders) AS n(
        order_no bigint, order_id text, client_id text, side side, type order_type, price numeric,
        quantity numeric, filled_quantity numeric, filled_value numeric, status order_status,
        status_reason text, idempotency_key text, created_us bigint, updated_us bigint)
    JOIN clients c USING (client_id)
    LEFT JOIN jsonb_to_recordset(p_events) AS e(sequence bigint, kind text, order_no bigint)
        ON e.order_no = n.order_no AND e.kind IN ('accepted', 'rejected')
    ON CONFLICT (instrument_id, order_no) DO UPDATE
    SET filled_quantity = excluded.filled_quantity, filled_value = excluded.filled_value,
        status = excluded.status, status_reason = excluded.status_reason,
        updated_at = excluded.updated_at;

    INSERT INTO order_events (instrument_id, sequence, kind, order_no, side, type, price, quantity,
                              reason, happened_at)
    SELECT p_instrument_id, e.sequence, e.kind, e.order_no, e.side, e.type, e.price, e.quantity,
           e.reason, from_us(e.time_us)
    FROM jsonb_to_recordset(p_events) AS e(
        sequence bigint, kind event_kind, order_no bigint, side side, type order_type,
        price numeric, quantity numeric, reason text, time_us bigint);

    WITH traded AS (
        INSERT INTO trades (instrument_id, sequence, trade_no, price, quantity, taker_side,
                            maker_order_no, taker_order_no, maker_client_no, taker_client_no,
                            traded_at, maker_fee, taker_fee, maker_segment_id, taker_segment_id)
        SELECT p_instrument_id, t.sequence, t.trade_no, t.price, t.quantity, t.taker_side,
               t.maker_order_no, t.taker_order_no, m.client_no, k.client_no, from_us(t.time_us),
               t.maker_fee, t.taker_fee, ms.segment_id, ks.segment_id
        FROM jsonb_to_recordset(p_trades) AS t(
            sequence bigint, trade_no bigint, price numeric, quantity numeric, taker_side side,
            maker_order_no bigint, taker_order_no bigint, maker_client_id text,
            taker_client_id text, time_us bigint, maker_fee numeric, taker_fee numeric,
            maker_segment text, taker_segment text)
        LEFT JOIN clients m ON m.client_id = t.maker_client_id
        LEFT JOIN clients k ON k.client_id = t.taker_client_id
        JOIN client_segments ms ON ms.segment = t.maker_segment
        JOIN client_segments ks ON ks.segment = t.taker_segment
        RETURNING *,
            CASE taker_side WHEN 'buy' THEN taker_client_no ELSE maker_client_no END AS buyer,
            CASE taker_side WHEN 'buy' THEN maker_client_no ELSE taker_client_no END AS seller
    ), entered AS (
        INSERT INTO ledger_entries (instrument_id, sequence, kind, posted_at)
        SELECT p_instrument_id, sequence, 'trade', traded_at FROM traded
    ), posted AS (
        INSERT INTO postings (instrument_id, sequence, leg, client_no, asset_id, amount)
        SELECT p_instrument_id, t.sequence, l.leg, l.client_no, l.asset_id, l.amount
        FROM traded t
        CROSS JOIN LATERAL (VALUES
            (1, t.buyer, v_instrument.base_asset_id, t.quantity),
            (2, t.seller, v_instrument.base_asset_id, -t.quantity),
            (3, t.seller, v_instrument.quote_asset_id, t.price * t.quantity),
            (4, t.buyer, v_instrument.quote_asset_id, -(t.price * t.quantity)),
            (5, t.taker_client_no, v_instrument.quote_asset_id, -t.taker_fee),
            (6, -2, v_instrument.quote_asset_id, t.taker_fee),
            (7, t.maker_client_no, v_instrument.quote_asset_id, -t.maker_fee),
            (8, -2, v_instrument.quote_asset_id, t.maker_fee)
        ) AS l(leg, client_no, asset_id, amount)
        WHERE l.amount <> 0
        RETURNING client_no, asset_id, amount
    ), balanced AS (
        INSERT INTO balances AS b (client_no, asset_id, instrument_id, posted)
        SELECT client_no, asset_id, p_instrument_id, sum(amount)
        FROM posted GROUP BY client_no, asset_id
        ON CONFLICT (client_no, asset_id, instrument_id)
            DO UPDATE SET posted = b.posted + excluded.posted
    )
    INSERT INTO positions (instrument_id, client_no, net_quantity, total_cost, realized_pnl,
                           updated_at)
    SELECT p_instrument_id, f.client_no, (f.state).net_quantity, (f.state).total_cost,
           (f.state).realized_pnl, f.updated_at
    FROM (
        SELECT l.client_no, max(t.traded_at) AS updated_at,
               position_fold((p.net_quantity, p.total_cost, p.realized_pnl)::position_state,
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

    UPDATE shard s
    SET sequence = v_last,
        order_no = greatest(s.order_no, (SELECT max(o.order_no)
            FROM jsonb_to_recordset(p_orders) AS o(order_no bigint))),
        trade_no = s.trade_no + jsonb_array_length(p_trades),
        last_time_us = greatest(s.last_time_us, v_last_us),
        last_stream_id = greatest(
            split_part(s.last_stream_id, '-', 1)::bigint + 1,
            to_us(clock_timestamp()) / 1000) || '-0',
        lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    WHERE s.instrument_id = p_instrument_id;
END
$$;
