-- Make the partitions for what there is, one range ahead, and move the rows into them.

SELECT exchange.make_ranges_v1(i.instrument_id, s.sequence + g.range_length)
FROM exchange.instruments i JOIN exchange.shard s USING (instrument_id), exchange.settings g
ORDER BY i.instrument_id;
SELECT exchange.make_ranges_v1(0, 1);

INSERT INTO exchange.trades
    (instrument_id, sequence, trade_no, price, quantity, taker_side, maker_order_no,
     taker_order_no, maker_client_no, taker_client_no, traded_at)
SELECT instrument_id, sequence, trade_no, price, quantity, taker_side, maker_order_no,
       taker_order_no, maker_client_no, taker_client_no, traded_at
FROM exchange.trades_0002;
INSERT INTO exchange.order_events SELECT * FROM exchange.order_events_0002;
INSERT INTO exchange.ledger_entries
SELECT instrument_id, sequence, kind::text::exchange.entry_kind, posted_at
FROM exchange.ledger_entries_0002;
INSERT INTO exchange.postings SELECT * FROM exchange.postings_0002;

DROP TABLE exchange.trades_0002, exchange.order_events_0002, exchange.ledger_entries_0002,
    exchange.postings_0002;
DROP TYPE exchange.entry_kind_0002;

-- It would find no room at the end of a range, and knows no fees: an old matcher fails, without
-- effect, until it is replaced.
DROP FUNCTION exchange.commit_batch_v2;

-- It would add an instrument without partitions.
DROP FUNCTION exchange.add_instrument;
