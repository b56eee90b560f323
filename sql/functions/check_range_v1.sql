-- Refuse a range of time that makes no sense. Errors: 22023.
CREATE FUNCTION exchange.check_range_v1(p_from timestamptz, p_to timestamptz) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_from IS NULL OR p_to IS NULL OR p_from > p_to THEN
        RAISE EXCEPTION 'the range from % to % is not one',
            coalesce(p_from::text, 'null'), coalesce(p_to::text, 'null')
            USING ERRCODE = '22023', HINT = 'Give the earlier time first, and no null.';
    END IF;
END
$$;
