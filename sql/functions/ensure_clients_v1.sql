-- Number clients at first sight.
-- Argument: client ids, any number, repeats allowed. Result: client_id and client_no of each.
-- Locks: inserts into clients in client_id order; waits for another insert of the same id.
CREATE FUNCTION exchange.ensure_clients_v1(p_client_ids text[])
RETURNS TABLE (client_id text, client_no bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO clients (client_id)
    SELECT DISTINCT u.id FROM unnest(p_client_ids) AS u(id)
    WHERE NOT EXISTS (SELECT 1 FROM clients c WHERE c.client_id = u.id)
    ORDER BY u.id
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT c.client_id, c.client_no FROM clients c WHERE c.client_id = ANY (p_client_ids);
END
$$;
