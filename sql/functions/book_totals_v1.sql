-- What a window of one book moved in all, for totals by kind of account: all clients as client 1.
-- Argument: a window, see balance_windows. Result: signed by its direction. Locks: none.
CREATE FUNCTION exchange.book_totals_v1(w exchange.book_window)
RETURNS TABLE (client_no bigint, asset_id integer, amount numeric)
LANGUAGE plpgsql STABLE
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    IF w.instrument_id = 0 THEN
        RETURN QUERY
        SELECT least(p.client_no, 1), p.asset_id, w.direction * sum(p.amount)
        FROM house_entries e JOIN postings p ON p.instrument_id = 0 AND p.sequence = e.sequence
        WHERE e.sequence > w.after_sequence AND e.sequence <= w.to_sequence
          AND e.posted_at >= w.from_at AND e.posted_at <= w.to_at
        GROUP BY least(p.client_no, 1), p.asset_id;
    ELSE
        -- What one client pays another does not change what clients have; their fees do.
        RETURN QUERY
        SELECT l.client_no, l.asset_id, w.direction * l.sign * f.fees
        FROM (
            SELECT coalesce(sum(t.maker_fee + t.taker_fee), 0) AS fees
            FROM trades t
            WHERE t.instrument_id = w.instrument_id
              AND t.traded_at >= w.from_at AND t.traded_at <= w.to_at
              AND t.sequence > w.after_sequence AND t.sequence <= w.to_sequence
        ) f
        JOIN instruments i ON i.instrument_id = w.instrument_id
        CROSS JOIN LATERAL (VALUES
            (1::bigint, i.quote_asset_id, -1), (-2::bigint, i.quote_asset_id, 1)
        ) AS l(client_no, asset_id, sign);
    END IF;
END
$$;
