-- A long history, made by SQL alone. verify() finds nothing wrong with it but that its settlements,
-- all but the last, discharge nothing: they are there for what they close with.
-- Every trade is three events: a maker's order, a taker's order, their trade. Every twentieth is
-- followed by an order that stays in the book, and by the cancel of the one that was put there
-- 1,000 such orders ago. Prices and clients come from multiplicative hashes of the trade's number:
-- the same history each time, but for the clock.

-- :name prepare
-- Triggers would hold each statement's rows in memory once more; what goes in balances by itself.
SET session_replication_role = replica;

-- :name clients
INSERT INTO exchange.clients (client_id) SELECT 'client-' || n FROM generate_series(1, 500) n;

-- :name ranges
SELECT exchange.make_ranges_v1(%(instrument_id)s, %(trades)s * 3 + %(trades)s / 20 * 2);

-- :name plan
-- The trades from :first to :last of an instrument, i from 0, with everything that follows from i.
CREATE TEMPORARY TABLE plan AS
SELECT i, i * 3 + i / 20 * 2 + 1 AS s, i * 2 + i / 20 + 1 AS o, i %% 20 = 19 AS rests,
       %(begin)s::timestamptz + i * (%(length)s::interval / %(trades)s) AS at,
       (%(price)s + (i * 7919 %% 2000) * 0.01)::numeric AS price,
       ((1 + i * 104729 %% 400) * 0.0025)::numeric AS quantity,
       CASE i * 15485863 / 7 %% 2 WHEN 0 THEN 'buy' ELSE 'sell' END::exchange.side AS taker_side,
       -- The first client makes a market: every twentieth trade is with it.
       CASE i * 31 %% 20 WHEN 0 THEN 1 ELSE 2 + i * 2654435761 %% 1000003 %% 499 END AS maker,
       1 + i * 40503 %% 999983 %% 500 AS taker,
       CASE %(instrument_id)s WHEN 1 THEN 0.0002 ELSE 0 END AS fee_rate
FROM generate_series(%(first)s::bigint, %(last)s::bigint) i;

-- :name orders
INSERT INTO exchange.orders (instrument_id, order_no, order_id, client_no, side, type, price,
                             quantity, filled_quantity, filled_value, status, status_reason,
                             sequence, created_at, updated_at)
SELECT %(instrument_id)s, x.order_no, format('order-%%s-%%s', %(instrument_id)s, lpad(x.order_no::text, 9, '0')),
       x.client_no, x.side, 'limit', x.price, p.quantity,
       CASE x.kind WHEN 3 THEN 0 ELSE p.quantity END,
       CASE x.kind WHEN 3 THEN 0 ELSE p.price * p.quantity END,
       CASE WHEN x.kind < 3 THEN 'filled' WHEN p.i / 20 + 1000 < %(trades)s / 20 THEN 'cancelled'
            ELSE 'open' END::exchange.order_status,
       CASE WHEN x.kind = 3 AND p.i / 20 + 1000 < %(trades)s / 20 THEN 'client_request' END,
       x.sequence, p.at,
       CASE WHEN x.kind = 3 AND p.i / 20 + 1000 < %(trades)s / 20
            THEN %(begin)s::timestamptz + (p.i + 20000) * (%(length)s::interval / %(trades)s)
            ELSE p.at END
FROM plan p
CROSS JOIN LATERAL (VALUES
    (1, p.o, p.s, p.maker, CASE p.taker_side WHEN 'buy' THEN 'sell' ELSE 'buy' END::exchange.side,
     p.price),
    (2, p.o + 1, p.s + 1, p.taker, p.taker_side, p.price),
    (3, p.o + 2, p.s + 3, p.taker, p.taker_side,
     CASE p.taker_side WHEN 'buy' THEN %(price)s - 1 - p.i / 20 %% 1000 * 0.01
          ELSE %(price)s + 21 + p.i / 20 %% 1000 * 0.01 END)
) AS x(kind, order_no, sequence, client_no, side, price)
WHERE x.kind < 3 OR p.rests;

-- :name events
INSERT INTO exchange.order_events
SELECT %(instrument_id)s, o.sequence, 'accepted', o.order_no, o.side, o.type, o.price, o.quantity,
       NULL, o.created_at
FROM exchange.orders o
WHERE o.instrument_id = %(instrument_id)s
  AND o.order_no BETWEEN (SELECT min(o) FROM plan) AND (SELECT max(o) + 2 FROM plan)
UNION ALL
SELECT %(instrument_id)s, p.s + 4,
       CASE WHEN o.order_no IS NULL THEN 'rejected' ELSE 'cancelled' END::exchange.event_kind,
       coalesce(o.order_no, 0), coalesce(o.side, 'buy'), 'limit', o.price, coalesce(o.quantity, 1),
       'client_request', p.at
FROM plan p
LEFT JOIN exchange.orders o
    ON o.instrument_id = %(instrument_id)s
   AND p.i >= 20000 AND o.order_no = (p.i - 20000) * 2 + (p.i - 20000) / 20 + 3
WHERE p.rests;

-- :name trades
INSERT INTO exchange.trades
SELECT %(instrument_id)s, p.s + 2, p.i + 1, p.price, p.quantity, p.taker_side, p.o, p.o + 1,
       p.maker, p.taker, p.at, 0, p.price * p.quantity * p.fee_rate, 1, 1
FROM plan p;

-- :name entries
INSERT INTO exchange.ledger_entries SELECT %(instrument_id)s, p.s + 2, 'trade', p.at FROM plan p;

-- :name postings
INSERT INTO exchange.postings
SELECT %(instrument_id)s, p.s + 2, l.leg, l.client_no,
       CASE WHEN l.leg <= 2 THEN i.base_asset_id ELSE i.quote_asset_id END, l.amount
FROM plan p
JOIN exchange.instruments i ON i.instrument_id = %(instrument_id)s
CROSS JOIN LATERAL (
    SELECT CASE p.taker_side WHEN 'buy' THEN p.taker ELSE p.maker END AS buyer,
           CASE p.taker_side WHEN 'buy' THEN p.maker ELSE p.taker END AS seller) b
CROSS JOIN LATERAL (VALUES
    (1, b.buyer, p.quantity), (2, b.seller, -p.quantity),
    (3, b.seller, p.price * p.quantity), (4, b.buyer, -(p.price * p.quantity)),
    (5, p.taker, -(p.price * p.quantity * p.fee_rate)), (6, -2, p.price * p.quantity * p.fee_rate)
) AS l(leg, client_no, amount)
WHERE l.amount <> 0;

-- :name drop_plan
DROP TABLE plan;

-- :name shard
UPDATE exchange.shard
SET sequence = %(trades)s * 3 + %(trades)s / 20 * 2, trade_no = %(trades)s,
    order_no = %(trades)s * 2 + %(trades)s / 20
WHERE instrument_id = %(instrument_id)s;

-- :name balances
INSERT INTO exchange.balances
SELECT client_no, asset_id, instrument_id, sum(amount)
FROM exchange.postings WHERE instrument_id = %(instrument_id)s GROUP BY 1, 2, 3;

-- :name positions
INSERT INTO exchange.positions
SELECT f.instrument_id, f.client_no, (f.state).net_quantity, now(), (f.state).total_cost,
       (f.state).realized_pnl
FROM (
    SELECT t.instrument_id, l.client_no,
           exchange.position_fold(NULL, l.quantity, t.price ORDER BY t.sequence, l.leg) AS state
    FROM exchange.trades t
    CROSS JOIN LATERAL (VALUES
        (1, CASE t.taker_side WHEN 'buy' THEN taker_client_no ELSE maker_client_no END, t.quantity),
        (2, CASE t.taker_side WHEN 'buy' THEN maker_client_no ELSE taker_client_no END, -t.quantity)
    ) AS l(leg, client_no, quantity)
    WHERE t.instrument_id = %(instrument_id)s
    GROUP BY t.instrument_id, l.client_no
) f;

-- :name closings
-- A settled day every midnight but the last two, without obligations: only what it closed with.
WITH days AS (
    SELECT d::date AS day, (d + interval '1 day') AT TIME ZONE 'UTC' AS ends
    FROM generate_series((%(begin)s::timestamptz AT TIME ZONE 'UTC')::date,
                         (%(begin)s::timestamptz + %(length)s::interval)::date - 3,
                         interval '1 day') d
), runs AS (
    INSERT INTO exchange.settlement_runs (day, settled_at, actor, clients)
    SELECT day, ends, 'bench', 0 FROM days ORDER BY day
), bounds AS (
    INSERT INTO exchange.settlement_bounds
    SELECT d.day, i.instrument_id,
           exchange.last_sequence_at_v1(i.instrument_id, d.ends - interval '1 day 1 microsecond'),
           exchange.last_sequence_at_v1(i.instrument_id, d.ends - interval '1 microsecond')
    FROM days d, exchange.instruments i
), moved AS (
    SELECT m.day, m.client_no, m.asset_id, sum(m.amount) AS amount
    FROM (
        SELECT date_trunc('day', t.traded_at AT TIME ZONE 'UTC')::date AS day,
               l.client_no, l.asset_id, sum(l.amount) AS amount
        FROM exchange.trades t
        JOIN exchange.instruments i USING (instrument_id)
        CROSS JOIN LATERAL (
            SELECT CASE t.taker_side WHEN 'buy' THEN taker_client_no ELSE maker_client_no END
                       AS buyer,
                   CASE t.taker_side WHEN 'buy' THEN maker_client_no ELSE taker_client_no END
                       AS seller) b
        CROSS JOIN LATERAL (VALUES
            (b.buyer, i.base_asset_id, t.quantity), (b.seller, i.base_asset_id, -t.quantity),
            (b.seller, i.quote_asset_id, t.price * t.quantity),
            (b.buyer, i.quote_asset_id, -t.price * t.quantity),
            (t.taker_client_no, i.quote_asset_id, -t.taker_fee),
            (-2, i.quote_asset_id, t.taker_fee)
        ) AS l(client_no, asset_id, amount)
        GROUP BY 1, 2, 3
    ) m
    GROUP BY 1, 2, 3
)
INSERT INTO exchange.closing_balances
SELECT s.day, s.client_no, s.asset_id, s.posted
FROM (SELECT day, client_no, asset_id,
             sum(amount) OVER (PARTITION BY client_no, asset_id ORDER BY day) AS posted
      FROM moved) s
JOIN days USING (day);

-- :name settle
-- The two days after those, for once as it is done.
SET session_replication_role = DEFAULT;
SELECT FROM exchange.settle_v1((%(begin)s::timestamptz + %(length)s::interval)::date - 1, 'bench');
