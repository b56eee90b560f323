-- Store how far the mirror has come, and prolong its lease. Called when Kafka has confirmed every
-- message up to there, and also with nothing new, to keep the lease.
-- Arguments: instrument number; the mirror's epoch; the sequence it went on from; the sequence, and
-- the last trade up to it, that are in Kafka now; lease in milliseconds.
-- Errors (nothing is stored)
--   EX001 fenced: another mirror has taken over;
--   EX002 stale: the offset stored is not the one given, or the new one would go back.
-- Locks: the row of mirror_offsets.
CREATE FUNCTION exchange.store_mirror_offset_v1(
    p_instrument_id integer, p_epoch bigint, p_from_sequence bigint, p_sequence bigint,
    p_trade_no bigint, p_lease_ms integer
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
DECLARE
    v_offset mirror_offsets%ROWTYPE;
BEGIN
    SELECT * INTO v_offset FROM mirror_offsets WHERE instrument_id = p_instrument_id FOR UPDATE;
    IF v_offset.epoch IS DISTINCT FROM p_epoch THEN
        RAISE EXCEPTION 'fenced: the mirror''s epoch % has passed to epoch %', p_epoch, v_offset.epoch
            USING ERRCODE = 'EX001';
    END IF;
    IF v_offset.sequence <> p_from_sequence OR p_sequence < p_from_sequence
       OR p_trade_no < v_offset.trade_no THEN
        RAISE EXCEPTION 'stale: the mirror''s offset is %, not %', v_offset.sequence, p_from_sequence
            USING ERRCODE = 'EX002';
    END IF;
    UPDATE mirror_offsets
    SET sequence = p_sequence, trade_no = p_trade_no,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond',
        stored_at = clock_timestamp()
    WHERE instrument_id = p_instrument_id;
END
$$;
