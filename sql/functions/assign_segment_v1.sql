-- Put clients into a segment; their next trades are of it, earlier ones stay what they were.
-- Arguments: the segment; client ids. Result: how many of them were in another segment.
-- Errors (nothing is changed): EX005 for an unknown segment or client.
-- Locks: the clients' rows, in client_no order.
CREATE FUNCTION exchange.assign_segment_v1(p_segment text, p_client_ids text[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_segment_id smallint := (SELECT s.segment_id FROM client_segments s
                              WHERE s.segment = p_segment);
    v_unknown text;
    v_changed integer;
BEGIN
    IF v_segment_id IS NULL THEN
        RAISE EXCEPTION 'there is no segment %', p_segment USING ERRCODE = 'EX005';
    END IF;
    SELECT u.client_id INTO v_unknown FROM unnest(p_client_ids) AS u(client_id)
    WHERE NOT EXISTS (SELECT FROM clients c
                      WHERE c.client_id = u.client_id AND c.client_no > 0) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no client %', quote_nullable(v_unknown) USING ERRCODE = 'EX005';
    END IF;
    PERFORM FROM clients c WHERE c.client_id = ANY (p_client_ids)
    ORDER BY c.client_no FOR NO KEY UPDATE;
    UPDATE clients c SET segment_id = v_segment_id
    WHERE c.client_id = ANY (p_client_ids) AND c.segment_id <> v_segment_id;
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    RETURN v_changed;
END
$$;
