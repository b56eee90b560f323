-- The way back to 0002, for a database that has nothing which 0002 cannot hold.

LOCK TABLE exchange.shard IN EXCLUSIVE MODE;

DO $$
DECLARE
    v_reasons text;
BEGIN
    SELECT string_agg(reason, ', ' ORDER BY reason) INTO v_reasons FROM (
        SELECT 'deposits, withdrawals or adjustments' AS reason
        WHERE EXISTS (SELECT FROM exchange.house_entries)
        UNION ALL SELECT 'fees' WHERE EXISTS (SELECT FROM exchange.fees)
            OR EXISTS (SELECT FROM exchange.trades WHERE maker_fee <> 0 OR taker_fee <> 0)
        UNION ALL SELECT 'segments of clients'
        WHERE EXISTS (SELECT FROM exchange.client_segments WHERE segment_id <> 1)
        UNION ALL SELECT 'settlements' WHERE EXISTS (SELECT FROM exchange.settlement_runs)
        UNION ALL SELECT 'retired partitions'
        WHERE EXISTS (SELECT FROM exchange.partition_ranges WHERE retired_at IS NOT NULL)
    ) r;
    IF v_reasons IS NOT NULL THEN
        RAISE EXCEPTION 'going back would lose %: restore a backup instead', v_reasons
            USING ERRCODE = 'EX009';
    END IF;
END
$$;

CREATE TABLE exchange.trades_0002 (LIKE exchange.trades INCLUDING CONSTRAINTS);
ALTER TABLE exchange.trades_0002
    DROP COLUMN maker_fee, DROP COLUMN taker_fee,
    DROP COLUMN maker_segment_id, DROP COLUMN taker_segment_id;
INSERT INTO exchange.trades_0002
SELECT instrument_id, sequence, trade_no, price, quantity, taker_side, maker_order_no,
       taker_order_no, maker_client_no, taker_client_no, traded_at
FROM exchange.trades;
CREATE TABLE exchange.order_events_0002 (LIKE exchange.order_events INCLUDING CONSTRAINTS);
INSERT INTO exchange.order_events_0002 SELECT * FROM exchange.order_events;
CREATE TYPE exchange.entry_kind_0002 AS ENUM ('trade');
CREATE TABLE exchange.ledger_entries_0002 (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    kind exchange.entry_kind_0002 NOT NULL,
    posted_at timestamptz NOT NULL
);
INSERT INTO exchange.ledger_entries_0002
SELECT instrument_id, sequence, 'trade', posted_at FROM exchange.ledger_entries;
CREATE TABLE exchange.postings_0002 (LIKE exchange.postings INCLUDING CONSTRAINTS);
INSERT INTO exchange.postings_0002 SELECT * FROM exchange.postings;

DROP VIEW exchange.kept_after;
DROP TABLE exchange.trades, exchange.order_events, exchange.ledger_entries, exchange.postings,
    exchange.partition_ranges, exchange.carried_balances, exchange.carried_positions,
    exchange.settings, exchange.closing_balances, exchange.settlement_clients,
    exchange.settlement_bounds, exchange.settlement_runs, exchange.house_entries,
    exchange.house_book, exchange.fees;
DELETE FROM exchange.clients WHERE client_no < 0;
ALTER TABLE exchange.clients DROP COLUMN segment_id, DROP CONSTRAINT clients_house_check;
DROP TABLE exchange.client_segments;
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = 'exchange'::regnamespace AND p.proname IN (
            'check_postings_v1', 'check_entries_v1', 'guard_table_v1', 'make_ranges_v1',
            'make_partitions_v1', 'add_instrument_v2', 'commit_batch_v3', 'post_entry_v1',
            'settle_v1', 'get_balances_v1', 'list_fees_v1', 'set_fees_v1', 'list_segments_v1',
            'add_segment_v1', 'assign_segment_v1', 'trade_bounds_v1', 'get_order_trades_v2',
            'get_trades_v2', 'ticker_v2', 'candles_v2', 'range_end_v1', 'list_partitions_v1',
            'retire_range_v1', 'detach_statements_v1')
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END
$$;
DROP TYPE exchange.entry_kind;

ALTER TYPE exchange.entry_kind_0002 RENAME TO entry_kind;
ALTER TABLE exchange.trades_0002 RENAME TO trades;
ALTER TABLE exchange.order_events_0002 RENAME TO order_events;
ALTER TABLE exchange.ledger_entries_0002 RENAME TO ledger_entries;
ALTER TABLE exchange.postings_0002 RENAME TO postings;
ALTER TABLE exchange.trades ADD PRIMARY KEY (instrument_id, sequence);
CREATE INDEX trades_maker ON exchange.trades (instrument_id, maker_order_no);
CREATE INDEX trades_time ON exchange.trades (instrument_id, traded_at);
ALTER TABLE exchange.order_events ADD PRIMARY KEY (instrument_id, sequence);
ALTER TABLE exchange.ledger_entries ADD PRIMARY KEY (instrument_id, sequence);
ALTER TABLE exchange.postings ADD PRIMARY KEY (instrument_id, sequence, leg);
