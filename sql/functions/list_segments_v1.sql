-- The segments of clients, and how many clients each has. Locks: none.
CREATE FUNCTION exchange.list_segments_v1() RETURNS TABLE (
    segment text, clients bigint, description text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT s.segment, count(c.client_no), s.description
    FROM client_segments s
    LEFT JOIN clients c ON c.segment_id = s.segment_id AND c.client_no > 0
    GROUP BY s.segment_id ORDER BY s.segment_id
$$;
