-- Keep the full depth of a book.
-- Arguments: instrument number; the sequence it is the depth of; prices and quantities of both
-- sides, best first, in units of 1e-8.
-- Result: as get_book_snapshot. There is one book per sequence: a second snapshot of it is not
-- stored, and the first is returned.
-- Errors: EX003 for a sequence that is not committed, and for levels that are not best first;
-- a check violation for sides of unequal length, amounts that are not above 0, and a crossed book.
-- Locks: none but the row it inserts.
CREATE FUNCTION exchange.store_book_snapshot_v1(
    p_instrument_id integer, p_sequence bigint,
    p_bid_prices numeric[], p_bid_quantities numeric[],
    p_ask_prices numeric[], p_ask_quantities numeric[]
) RETURNS TABLE (
    snapshot_id bigint, instrument text, sequence bigint, taken_us bigint,
    bid_prices numeric[], bid_quantities numeric[], ask_prices numeric[], ask_quantities numeric[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_committed bigint := (SELECT s.sequence FROM shard s
                           WHERE s.instrument_id = p_instrument_id);
BEGIN
    IF p_sequence > v_committed OR v_committed IS NULL THEN
        RAISE EXCEPTION 'sequence % is not committed: instrument % is at %',
            p_sequence, p_instrument_id, v_committed USING ERRCODE = 'EX003';
    END IF;
    IF p_bid_prices <> ARRAY(SELECT DISTINCT u FROM unnest(p_bid_prices) AS u ORDER BY u DESC)
       OR p_ask_prices <> ARRAY(SELECT DISTINCT u FROM unnest(p_ask_prices) AS u ORDER BY u) THEN
        RAISE EXCEPTION 'the levels are not best first' USING ERRCODE = 'EX003';
    END IF;
    INSERT INTO book_snapshots (
        instrument_id, sequence, bid_prices, bid_quantities, ask_prices, ask_quantities)
    SELECT p_instrument_id, p_sequence,
           ARRAY(SELECT u * 0.00000001 FROM unnest(p_bid_prices) AS u),
           ARRAY(SELECT u * 0.00000001 FROM unnest(p_bid_quantities) AS u),
           ARRAY(SELECT u * 0.00000001 FROM unnest(p_ask_prices) AS u),
           ARRAY(SELECT u * 0.00000001 FROM unnest(p_ask_quantities) AS u)
    ON CONFLICT (instrument_id, sequence) DO NOTHING;
    RETURN QUERY
    SELECT g.* FROM book_snapshots b CROSS JOIN LATERAL get_book_snapshot_v1(b.snapshot_id) g
    WHERE b.instrument_id = p_instrument_id AND b.sequence = p_sequence;
END
$$;
