-- Count the clients of late, over all instruments.
-- Argument: since when. Result: one row: clients that sent an order (rejected ones included), and
-- clients that traded (also with orders sent earlier).
CREATE FUNCTION exchange.recent_clients_v1(p_from timestamptz)
RETURNS TABLE (ordering_clients bigint, trading_clients bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp SET enable_seqscan = off AS $$
    SELECT (
        SELECT count(DISTINCT o.client_no)
        FROM (SELECT i.instrument_id, last_order_at(i.instrument_id, p_from) AS after
              FROM instruments i) b
        JOIN orders o ON o.instrument_id = b.instrument_id AND o.order_no > b.after
    ), (
        SELECT count(DISTINCT side.client_no)
        FROM (SELECT i.instrument_id, last_sequence_at_v1(i.instrument_id, p_from) AS after
              FROM instruments i) b
        JOIN trades t ON t.instrument_id = b.instrument_id AND t.sequence > b.after
        CROSS JOIN LATERAL (VALUES (t.maker_client_no), (t.taker_client_no)) AS side(client_no)
    )
$$;
