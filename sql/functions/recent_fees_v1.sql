-- What the house earned in fees of late.
-- Argument: since when. Result: a row for every segment, role and quote asset that there is, also when
-- nothing was earned; negative: rebates paid. A fill counts for the segment of its client at the time.
CREATE FUNCTION exchange.recent_fees_v1(p_from timestamptz)
RETURNS TABLE (segment text, role text, asset text, fees numeric)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
    WITH earned AS (
        SELECT b.asset_id, l.role, l.segment_id, sum(l.fee) AS fees
        FROM (SELECT i.instrument_id, i.quote_asset_id AS asset_id,
                     last_sequence_at_v1(i.instrument_id, p_from) AS after
              FROM instruments i) b
        JOIN trades t ON t.instrument_id = b.instrument_id AND t.sequence > b.after
        CROSS JOIN LATERAL (VALUES
            ('maker', t.maker_segment_id, t.maker_fee), ('taker', t.taker_segment_id, t.taker_fee)
        ) AS l(role, segment_id, fee)
        GROUP BY 1, 2, 3
    )
    SELECT g.segment, r.role, a.asset, coalesce(trim_scale(e.fees), 0)
    FROM client_segments g
    CROSS JOIN (VALUES ('maker'), ('taker')) AS r(role)
    CROSS JOIN (SELECT DISTINCT quote_asset_id AS asset_id FROM instruments) q
    JOIN assets a USING (asset_id)
    LEFT JOIN earned e ON (e.segment_id, e.role, e.asset_id) = (g.segment_id, r.role, q.asset_id)
    ORDER BY g.segment_id, r.role, a.asset
$$;
