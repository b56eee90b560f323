-- How many events and trades, over all instruments, are in Kafka for sure. There are at least as many
-- messages in the topics of events and of trades, or some were lost there.
-- Locks: none.
CREATE FUNCTION exchange.mirrored_totals_v1() RETURNS TABLE (events numeric, trades numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
    SELECT coalesce(sum(sequence - from_sequence), 0), coalesce(sum(trade_no - from_trade_no), 0)
    FROM mirror_offsets
$$;
