-- The number of a client. The accounts of the house are clients too: @world, @fees, @settlement.
-- Argument: client id. Result: its number. Errors: 22023 for one never seen. Locks: none.
CREATE FUNCTION exchange.find_client_v1(p_client_id text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = exchange, pg_temp AS $$
DECLARE
    v_client_no bigint := (SELECT c.client_no FROM clients c WHERE c.client_id = p_client_id);
BEGIN
    IF v_client_no IS NULL THEN
        RAISE EXCEPTION 'there is no client %', coalesce(quote_literal(p_client_id), 'null')
            USING ERRCODE = '22023',
                  HINT = 'A client exists from its first order on; names are case-sensitive.';
    END IF;
    RETURN v_client_no;
END
$$;
