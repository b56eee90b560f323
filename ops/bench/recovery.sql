-- A deep book behind a long past, for recovery: orders and their events, without a ledger. Resting
-- orders lie scattered over the past: every :every-th order rests, of these every tenth is partially
-- filled; all others were cancelled.

-- :name clients
INSERT INTO exchange.clients (client_id) SELECT 'client-' || n FROM generate_series(1, 500) n;

-- :name ranges
SELECT exchange.make_ranges_v1(1, 3 * %(orders)s);

-- :name orders
WITH plan AS (
    SELECT n, n + (n - 1) - (n - 1) / %(every)s AS s, n %% %(every)s = 0 AS rests,
           n %% (%(every)s * 10) = 0 AS filled,
           CASE n / %(every)s %% 2 WHEN 0 THEN 'buy' ELSE 'sell' END::exchange.side AS side,
           CASE n / %(every)s %% 2 WHEN 0 THEN 70000 - n * 7919 %% 1000 * 0.5
                ELSE 70000.5 + n * 7919 %% 1000 * 0.5 END AS price,
           1.5 + n %% 100 * 0.01 AS quantity, now() - interval '1 day' + n * interval '10 ms' AS at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
), stored AS (
    INSERT INTO exchange.orders (
        instrument_id, order_no, order_id, client_no, side, type, price, quantity, filled_quantity,
        filled_value, status, status_reason, idempotency_key, sequence, created_at, updated_at)
    SELECT 1, n, gen_random_uuid()::text, 1 + n %% 500, side, 'limit', price, quantity,
           CASE WHEN filled THEN 0.5 ELSE 0 END, CASE WHEN filled THEN price * 0.5 ELSE 0 END,
           CASE WHEN filled THEN 'partially_filled' WHEN rests THEN 'open'
                ELSE 'cancelled' END::exchange.order_status,
           CASE WHEN NOT rests THEN 'client_request' END,
           CASE n %% 4 WHEN 0 THEN 'key-' || n END, s, at, at
    FROM plan
)
INSERT INTO exchange.order_events (
    instrument_id, sequence, kind, order_no, side, type, price, quantity, reason, happened_at)
SELECT 1, s, 'accepted'::exchange.event_kind, n, side, 'limit'::exchange.order_type, price, quantity, NULL, at FROM plan
UNION ALL
SELECT 1, s + 1, 'cancelled', n, side, 'limit', price, quantity, 'client_request', at
FROM plan WHERE NOT rests;

-- :name shard
UPDATE exchange.shard SET order_no = %(orders)s,
    sequence = 2 * %(orders)s - %(orders)s / %(every)s WHERE instrument_id = 1;

-- :name change
-- :events events: half of them cancel resting orders, the others bring new ones.
WITH s AS (
    SELECT sequence, order_no FROM exchange.shard WHERE instrument_id = 1
), gone AS (
    SELECT o.*, row_number() OVER () AS n
    FROM (SELECT * FROM exchange.orders
          WHERE instrument_id = 1 AND status IN ('open', 'partially_filled')
          ORDER BY order_no * 7919 %% 1000003 LIMIT %(events)s / 2) o
), cancelled AS (
    UPDATE exchange.orders o SET status = 'cancelled', status_reason = 'client_request',
        updated_at = now()
    FROM gone g WHERE o.instrument_id = 1 AND o.order_no = g.order_no
), fresh AS (
    INSERT INTO exchange.orders (
        instrument_id, order_no, order_id, client_no, side, type, price, quantity, filled_quantity,
        filled_value, status, sequence, created_at, updated_at)
    SELECT 1, s.order_no + n, gen_random_uuid()::text, client_no, side, 'limit', price, quantity,
           0, 0, 'open', s.sequence + 2 * n, now(), now()
    FROM gone, s
)
INSERT INTO exchange.order_events (
    instrument_id, sequence, kind, order_no, side, type, price, quantity, reason, happened_at)
SELECT 1, s.sequence + 2 * n - 1, 'cancelled'::exchange.event_kind, g.order_no, side,
       'limit'::exchange.order_type, price, quantity - filled_quantity, 'client_request', now() FROM gone g, s
UNION ALL
SELECT 1, s.sequence + 2 * n, 'accepted', s.order_no + n, side, 'limit', price, quantity, NULL,
       now() FROM gone g, s;

-- :name changed
UPDATE exchange.shard SET order_no = order_no + %(events)s / 2,
    sequence = sequence + %(events)s WHERE instrument_id = 1;

-- :name vacuum
VACUUM exchange.orders;

-- :name forget
DELETE FROM exchange.engine_snapshots;

-- :name age
-- So that the next one is due.
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE exchange.engine_snapshots SET taken_at = taken_at - interval '1 hour';
COMMIT;

-- :name standing
SELECT sequence, order_no, trade_no FROM exchange.shard WHERE instrument_id = 1;

-- :name size
SELECT sum(length(numbers) + length(texts)) FROM exchange.engine_snapshot_parts;
