-- What must always hold. Each query returns no row when all is well, else what is wrong.

-- :name entries_balance
-- Every ledger entry sums to zero in every asset.
SELECT instrument_id, sequence, asset_id, sum(amount) AS off_by
FROM exchange.postings
GROUP BY instrument_id, sequence, asset_id HAVING sum(amount) <> 0;

-- :name assets_sum_to_zero
-- Trading makes and loses nothing: over all accounts each asset sums to zero.
SELECT asset_id, sum(posted) AS off_by FROM exchange.balances
GROUP BY asset_id HAVING sum(posted) <> 0;

-- :name positions_sum_to_zero
-- What one client has bought, another has sold.
SELECT instrument_id, sum(net_quantity) AS off_by FROM exchange.positions
GROUP BY instrument_id HAVING sum(net_quantity) <> 0;

-- :name balances_are_their_postings
SELECT client_no, asset_id, instrument_id, b.posted, p.posted AS postings
FROM exchange.balances b
FULL JOIN (
    SELECT client_no, asset_id, instrument_id, sum(amount) AS posted
    FROM exchange.postings GROUP BY client_no, asset_id, instrument_id
) p USING (client_no, asset_id, instrument_id)
WHERE b.posted IS DISTINCT FROM p.posted;

-- :name positions_are_their_postings
SELECT instrument_id, client_no, n.net_quantity, p.posted AS postings
FROM exchange.positions n
FULL JOIN (
    SELECT p.instrument_id, p.client_no, sum(p.amount) AS posted
    FROM exchange.postings p
    JOIN exchange.instruments i
        ON i.instrument_id = p.instrument_id AND i.base_asset_id = p.asset_id
    GROUP BY p.instrument_id, p.client_no
) p USING (instrument_id, client_no)
WHERE n.net_quantity IS DISTINCT FROM p.posted;

-- :name positions_cost_their_postings
-- What the open part cost less what closing has earned is what the client has paid, exactly.
SELECT n.instrument_id, n.client_no, n.total_cost - n.realized_pnl AS cost, -b.posted AS paid
FROM exchange.positions n
JOIN exchange.instruments i USING (instrument_id)
LEFT JOIN exchange.balances b
    ON b.client_no = n.client_no AND b.asset_id = i.quote_asset_id
   AND b.instrument_id = n.instrument_id
WHERE n.total_cost - n.realized_pnl IS DISTINCT FROM -b.posted;

-- :name positions_are_their_fills
-- A position is the fold of its client's fills, in sequence.
SELECT instrument_id, client_no, n.net_quantity, n.total_cost, n.realized_pnl, f.state AS fills
FROM exchange.positions n
FULL JOIN (
    SELECT t.instrument_id, l.client_no,
           exchange.position_fold(NULL, l.quantity, t.price ORDER BY t.sequence, l.leg) AS state
    FROM exchange.trades t
    CROSS JOIN LATERAL (VALUES
        (1, CASE t.taker_side WHEN 'buy' THEN taker_client_no ELSE maker_client_no END, t.quantity),
        (2, CASE t.taker_side WHEN 'buy' THEN maker_client_no ELSE taker_client_no END, -t.quantity)
    ) AS l(leg, client_no, quantity)
    GROUP BY t.instrument_id, l.client_no
) f USING (instrument_id, client_no)
WHERE (n.net_quantity, n.total_cost, n.realized_pnl) IS DISTINCT FROM
      ((f.state).net_quantity, (f.state).total_cost, (f.state).realized_pnl);

-- :name orders_have_clients
SELECT o.instrument_id, o.order_no, o.client_no
FROM exchange.orders o
LEFT JOIN exchange.clients c USING (client_no)
WHERE c.client_no IS NULL;

-- :name trades_are_entered
-- Every trade has its ledger entry, of two legs in each of the instrument's two assets.
SELECT instrument_id, t.sequence, count(p.leg) AS legs
FROM exchange.trades t
LEFT JOIN exchange.ledger_entries e USING (instrument_id, sequence)
LEFT JOIN exchange.postings p USING (instrument_id, sequence)
GROUP BY instrument_id, t.sequence, e.sequence
HAVING e.sequence IS NULL OR count(p.leg) < 4;

-- :name fills_are_their_trades
-- What an order has filled, in quantity and in value, is the sum of its trades.
SELECT instrument_id, order_no, o.filled_quantity, f.quantity AS traded
FROM exchange.orders o
FULL JOIN (
    SELECT instrument_id, order_no, sum(quantity) AS quantity, sum(quantity * price) AS value
    FROM (
        SELECT instrument_id, maker_order_no AS order_no, quantity, price FROM exchange.trades
        UNION ALL
        SELECT instrument_id, taker_order_no, quantity, price FROM exchange.trades
    ) sides
    GROUP BY instrument_id, order_no
) f USING (instrument_id, order_no)
WHERE o.filled_quantity IS DISTINCT FROM coalesce(f.quantity, 0)
   OR o.filled_value IS DISTINCT FROM coalesce(f.value, 0);

-- :name trades_respect_limits
-- Neither side of a trade got a worse price than its order's limit.
SELECT s.instrument_id, s.sequence, s.price, s.order_no, o.price AS limit_price
FROM (
    SELECT instrument_id, sequence, price, maker_order_no AS order_no FROM exchange.trades
    UNION ALL
    SELECT instrument_id, sequence, price, taker_order_no FROM exchange.trades
) s
JOIN exchange.orders o USING (instrument_id, order_no)
WHERE (o.side = 'buy' AND s.price > o.price) OR (o.side = 'sell' AND s.price < o.price);

-- :name sequences_are_gapless
SELECT s.instrument_id, s.sequence AS stored, e.events, e.last
FROM exchange.shard s
LEFT JOIN (
    SELECT instrument_id, count(DISTINCT sequence) AS events, count(*) AS rows,
           min(sequence) AS first, max(sequence) AS last
    FROM (
        SELECT instrument_id, sequence FROM exchange.order_events
        UNION ALL
        SELECT instrument_id, sequence FROM exchange.trades
    ) log
    GROUP BY instrument_id
) e USING (instrument_id)
WHERE coalesce(e.events, 0) <> s.sequence OR coalesce(e.rows, 0) <> s.sequence
   OR coalesce(e.last, 0) <> s.sequence OR coalesce(e.first, 1) <> 1;

-- :name numbers_are_gapless
SELECT s.instrument_id, s.order_no, o.orders, s.trade_no, t.trades
FROM exchange.shard s
LEFT JOIN (SELECT instrument_id, count(*) AS orders, max(order_no) AS last
           FROM exchange.orders GROUP BY instrument_id) o USING (instrument_id)
LEFT JOIN (SELECT instrument_id, count(DISTINCT trade_no) AS trades, max(trade_no) AS last
           FROM exchange.trades GROUP BY instrument_id) t USING (instrument_id)
WHERE coalesce(o.orders, 0) <> s.order_no OR coalesce(o.last, 0) <> s.order_no
   OR coalesce(t.trades, 0) <> s.trade_no OR coalesce(t.last, 0) <> s.trade_no;
