-- What a client, or an account of the house, has: one row per asset and book.
-- Argument: the client. Result: the asset, the instrument whose book it is ('' is the house's), what
-- is posted there and in all books together, in natural units. Errors: EX005 for an unknown client.
-- Locks: none.
CREATE FUNCTION exchange.get_balances_v1(p_client_id text) RETURNS TABLE (
    asset text, instrument text, posted numeric, total numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_client_no bigint := (SELECT c.client_no FROM clients c WHERE c.client_id = p_client_id);
BEGIN
    IF v_client_no IS NULL THEN
        RAISE EXCEPTION 'there is no client %', quote_nullable(p_client_id)
            USING ERRCODE = 'EX005';
    END IF;
    RETURN QUERY
    SELECT a.asset, coalesce(i.instrument, ''), trim_scale(b.posted),
           trim_scale(sum(b.posted) OVER (PARTITION BY a.asset))
    FROM balances b
    JOIN assets a USING (asset_id)
    LEFT JOIN instruments i USING (instrument_id)
    WHERE b.client_no = v_client_no
    ORDER BY a.asset, b.instrument_id;
END
$$;
