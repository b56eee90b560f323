-- Every instrument, by its number. `matched` says whether somebody holds its lease now.
-- Result: sizes in natural units. Locks: none.
CREATE FUNCTION exchange.list_instruments() RETURNS TABLE (
    instrument_id integer, instrument text, base_asset text, quote_asset text,
    tick_size numeric, lot_size numeric, status text, matched boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT i.instrument_id, i.instrument, b.asset, q.asset, trim_scale(i.tick_size),
           trim_scale(i.lot_size), i.status,
           s.owner IS NOT NULL AND s.lease_until > clock_timestamp()
    FROM instruments i
    JOIN assets b ON b.asset_id = i.base_asset_id
    JOIN assets q ON q.asset_id = i.quote_asset_id
    JOIN shard s USING (instrument_id)
    ORDER BY i.instrument_id
$$;
