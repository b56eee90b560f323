-- Whether a client is known: it has ordered, or the house has entered something for it.
-- Argument: the client. Result: true or false. Locks: none.
CREATE FUNCTION exchange.knows_client_v1(p_client_id text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT EXISTS (SELECT FROM clients WHERE client_id = p_client_id)
$$;
