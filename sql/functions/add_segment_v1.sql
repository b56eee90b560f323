-- Add a segment of clients.
-- Arguments: its name, 1 to 32 small letters, digits, '-' and '_'; a description.
-- Errors: EX005 when the name is taken or unusable. Locks: none but the row it inserts.
CREATE FUNCTION exchange.add_segment_v1(p_segment text, p_description text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    INSERT INTO client_segments (segment, description) VALUES (p_segment, p_description);
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'segment % exists already', p_segment USING ERRCODE = 'EX005';
    WHEN check_violation OR not_null_violation THEN
        RAISE EXCEPTION '% is not a segment name: 1 to 32 small letters, digits, - and _',
            quote_nullable(p_segment) USING ERRCODE = 'EX005';
END
$$;
