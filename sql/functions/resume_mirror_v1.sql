-- Let the mirror of a restored instrument go on where the topics end, so that it does not write all
-- of it again.
-- Arguments: instrument number; the epoch under which it is the caller's; how many events and trades
-- were never in the topics, because the mirror began after them.
-- Errors: EX001 fenced. Locks: the shard row, then that of mirror_offsets.
CREATE FUNCTION exchange.resume_mirror_v1(
    p_instrument_id integer, p_epoch bigint, p_from_sequence bigint, p_from_trade_no bigint
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
BEGIN
    INSERT INTO mirror_offsets (instrument_id, sequence, trade_no, from_sequence, from_trade_no)
    SELECT s.instrument_id, s.sequence, s.trade_no, p_from_sequence, p_from_trade_no
    FROM shard s
    WHERE s.instrument_id = p_instrument_id AND s.epoch = p_epoch FOR UPDATE
    ON CONFLICT (instrument_id) DO UPDATE
    SET sequence = excluded.sequence, trade_no = excluded.trade_no,
        from_sequence = excluded.from_sequence, from_trade_no = excluded.from_trade_no,
        epoch = mirror_offsets.epoch + 1, owner = NULL, stored_at = clock_timestamp();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'fenced: epoch % has passed', p_epoch USING ERRCODE = 'EX001';
    END IF;
END
$$;
