-- Let go of an old range of an instrument's book: carry what its postings and trades come to, and
-- mark it. Its partitions can be detached from then on (see detach_statements).
-- Arguments: instrument number; the range's first sequence; everything in it must be older than this
-- day (UTC).
-- Against v1: an instrument that is mirrored to Kafka keeps what the mirror has not copied yet.
-- Result: null when it is retired now; else why it has to stay, and nothing has changed.
-- Locks: the range's row, against another call.
CREATE FUNCTION exchange.retire_range_v2(
    p_instrument_id integer, p_first_sequence bigint, p_before date
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_range partition_ranges%ROWTYPE;
    v_last_trade bigint;
BEGIN
    SELECT * INTO v_range FROM partition_ranges r
    WHERE r.instrument_id = p_instrument_id AND r.first_sequence = p_first_sequence FOR UPDATE;
    IF NOT FOUND OR v_range.retired_at IS NOT NULL THEN
        RETURN 'there is no such range, or it is retired already';
    ELSIF p_instrument_id = 0 THEN
        RETURN 'the book of the house is kept whole';
    ELSIF v_range.last_sequence > (SELECT s.sequence FROM shard s
                                   WHERE s.instrument_id = p_instrument_id) THEN
        RETURN 'it is in use';
    ELSIF range_end_v1(p_instrument_id, p_first_sequence, v_range.last_sequence)
          >= p_before::timestamp AT TIME ZONE 'UTC' THEN
        RETURN format('it is not wholly older than %s', p_before);
    ELSIF EXISTS (SELECT FROM partition_ranges r
                  WHERE r.instrument_id = p_instrument_id AND r.retired_at IS NULL
                    AND r.first_sequence < p_first_sequence) THEN
        RETURN 'the range before it has to stay';
    ELSIF EXISTS (SELECT FROM orders o
                  WHERE o.instrument_id = p_instrument_id
                    AND o.status IN ('open', 'partially_filled')
                    AND o.sequence <= v_range.last_sequence) THEN
        RETURN 'orders accepted in it are still open';
    ELSIF v_range.last_sequence > (SELECT m.sequence FROM mirror_offsets m
                                   WHERE m.instrument_id = p_instrument_id) THEN
        RETURN 'the Kafka mirror has not passed it yet';
    END IF;
    v_last_trade := (SELECT max(t.sequence) FROM trades t
                     WHERE t.instrument_id = p_instrument_id
                       AND t.sequence BETWEEN p_first_sequence AND v_range.last_sequence);
    IF v_last_trade > coalesce((SELECT max(b.to_sequence) FROM settlement_bounds b
                                WHERE b.instrument_id = p_instrument_id), 0) THEN
        RETURN 'its trades are not settled yet';
    END IF;

    INSERT INTO carried_balances AS c (instrument_id, client_no, asset_id, posted)
    SELECT p_instrument_id, p.client_no, p.asset_id, sum(p.amount)
    FROM postings p
    WHERE p.instrument_id = p_instrument_id
      AND p.sequence BETWEEN p_first_sequence AND v_range.last_sequence
    GROUP BY p.client_no, p.asset_id
    ON CONFLICT (instrument_id, client_no, asset_id)
        DO UPDATE SET posted = c.posted + excluded.posted;
    INSERT INTO carried_positions (instrument_id, client_no, net_quantity, total_cost,
                                   realized_pnl)
    SELECT p_instrument_id, f.client_no, (f.state).net_quantity, (f.state).total_cost,
           (f.state).realized_pnl
    FROM (
        SELECT l.client_no,
               position_fold((c.net_quantity, c.total_cost, c.realized_pnl)::position_state,
                             l.quantity, t.price ORDER BY t.sequence, l.leg) AS state
        FROM trades t
        CROSS JOIN LATERAL (VALUES
            (1, CASE t.taker_side WHEN 'buy' THEN t.taker_client_no ELSE t.maker_client_no END,
             t.quantity),
            (2, CASE t.taker_side WHEN 'buy' THEN t.maker_client_no ELSE t.taker_client_no END,
             -t.quantity)
        ) AS l(leg, client_no, quantity)
        LEFT JOIN carried_positions c
            ON c.instrument_id = p_instrument_id AND c.client_no = l.client_no
        WHERE t.instrument_id = p_instrument_id
          AND t.sequence BETWEEN p_first_sequence AND v_range.last_sequence
        GROUP BY l.client_no
    ) f
    ON CONFLICT (instrument_id, client_no)
        DO UPDATE SET net_quantity = excluded.net_quantity, total_cost = excluded.total_cost,
                      realized_pnl = excluded.realized_pnl;
    UPDATE partition_ranges r
    SET retired_at = clock_timestamp(),
        last_trade_no = coalesce(
            (SELECT t.trade_no FROM trades t
             WHERE t.instrument_id = p_instrument_id AND t.sequence = v_last_trade),
            (SELECT k.trade_no FROM kept_after k WHERE k.instrument_id = p_instrument_id))
    WHERE r.instrument_id = p_instrument_id AND r.first_sequence = p_first_sequence;
    RETURN NULL;
END
$$;
