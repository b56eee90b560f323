-- Say that this database was restored from a backup: what it commits from now on is another history
-- than the one that readers may have seen under the same sequences.
-- Argument: the reason, for people. Result: a row per instrument, with the sequence and trade_no up to
-- which the histories are the same.
-- Errors: EX012 while an instrument is matched or mirrored.
-- Locks: every shard row, in order, then those of mirror_offsets.
CREATE FUNCTION exchange.begin_timeline_v1(p_reason text)
RETURNS TABLE (timeline bigint, instrument text, sequence bigint, trade_no bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_busy text;
    v_timeline bigint;
BEGIN
    PERFORM FROM shard ORDER BY instrument_id FOR UPDATE;
    PERFORM FROM mirror_offsets ORDER BY instrument_id FOR UPDATE;
    SELECT string_agg(DISTINCT i.instrument, ', ' ORDER BY i.instrument) INTO v_busy
    FROM (SELECT instrument_id, owner, lease_until FROM shard
          UNION ALL SELECT instrument_id, owner, lease_until FROM mirror_offsets) AS lease
    JOIN instruments i USING (instrument_id)
    WHERE lease.owner IS NOT NULL AND lease.lease_until > clock_timestamp();
    IF v_busy IS NOT NULL THEN
        RAISE EXCEPTION '% is being matched or mirrored: stop every process of the exchange first', v_busy
            USING ERRCODE = 'EX012';
    END IF;
    v_timeline := greatest(
        current_timeline_v1() + 1, floor(extract(epoch FROM clock_timestamp()))::bigint);
    RETURN QUERY
    WITH begun AS (
        INSERT INTO timelines (timeline, instrument_id, sequence, trade_no, reason)
        SELECT v_timeline, s.instrument_id, s.sequence, s.trade_no, p_reason FROM shard s
        RETURNING timelines.*
    )
    SELECT b.timeline, i.instrument, b.sequence, b.trade_no
    FROM begun b JOIN instruments i USING (instrument_id) ORDER BY b.instrument_id;
END
$$;
