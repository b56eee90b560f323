-- What moved a client's balances within windows of the books.
-- Arguments: client number; windows, see balance_windows.
-- Result: sums by kind and asset, each times its window's direction. Kinds are trade, fee and those
-- of the house's entries. Locks: none.
CREATE FUNCTION exchange.client_movements_v1(p_client_no bigint, p_windows exchange.book_window[])
RETURNS TABLE (kind text, asset_id integer, amount numeric)
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    w book_window;
BEGIN
    FOREACH w IN ARRAY p_windows LOOP
        IF w.instrument_id = 0 THEN
            RETURN QUERY
            SELECT e.kind::text, p.asset_id, w.direction * sum(p.amount)
            FROM postings p JOIN house_entries e USING (sequence)
            WHERE p.instrument_id = 0 AND p.client_no = p_client_no
              AND p.sequence > w.after_sequence AND p.sequence <= w.to_sequence
              AND e.posted_at >= w.from_at AND e.posted_at <= w.to_at
            GROUP BY e.kind, p.asset_id;
        ELSE
            RETURN QUERY
            SELECT m.kind, m.asset_id, w.direction * m.amount
            FROM (
                SELECT sum(s.quantity) AS quantity, sum(s.value) AS value, sum(s.fee) AS fee
                FROM (
                    SELECT CASE t.taker_side WHEN 'buy' THEN -t.quantity ELSE t.quantity END
                               AS quantity,
                           CASE t.taker_side WHEN 'buy' THEN 1 ELSE -1 END * t.price * t.quantity
                               AS value,
                           t.maker_fee AS fee
                    FROM trades t
                    WHERE t.instrument_id = w.instrument_id AND t.maker_client_no = p_client_no
                      AND t.traded_at >= w.from_at AND t.traded_at <= w.to_at
                      AND t.sequence > w.after_sequence AND t.sequence <= w.to_sequence
                    UNION ALL
                    SELECT CASE t.taker_side WHEN 'buy' THEN t.quantity ELSE -t.quantity END,
                           CASE t.taker_side WHEN 'buy' THEN -1 ELSE 1 END * t.price * t.quantity,
                           t.taker_fee
                    FROM trades t
                    WHERE t.instrument_id = w.instrument_id AND t.taker_client_no = p_client_no
                      AND t.traded_at >= w.from_at AND t.traded_at <= w.to_at
                      AND t.sequence > w.after_sequence AND t.sequence <= w.to_sequence
                ) s
            ) f
            JOIN instruments i ON i.instrument_id = w.instrument_id
            CROSS JOIN LATERAL (VALUES
                ('trade', i.base_asset_id, f.quantity),
                ('trade', i.quote_asset_id, f.value),
                ('fee', i.quote_asset_id, -f.fee)
            ) AS m(kind, asset_id, amount)
            WHERE m.amount IS NOT NULL;
            IF p_client_no = -2 THEN
                RETURN QUERY
                SELECT 'fee', i.quote_asset_id, w.direction * sum(t.maker_fee + t.taker_fee)
                FROM instruments i JOIN trades t USING (instrument_id)
                WHERE i.instrument_id = w.instrument_id
                  AND t.traded_at >= w.from_at AND t.traded_at <= w.to_at
                  AND t.sequence > w.after_sequence AND t.sequence <= w.to_sequence
                GROUP BY i.quote_asset_id;
            END IF;
        END IF;
    END LOOP;
END
$$;
