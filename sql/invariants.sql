-- What must always hold. Each query returns no row when all is well, else what is wrong.
-- Ranges of history that are retired count as what was carried of them: see partition_ranges.

-- :name entries_balance
-- Every ledger entry sums to zero in every asset.
SELECT instrument_id, sequence, asset_id, sum(amount) AS off_by
FROM exchange.postings
GROUP BY instrument_id, sequence, asset_id HAVING sum(amount) <> 0;

-- :name entries_have_postings
-- No entry without two postings at least, no posting without its entry.
SELECT instrument_id, sequence, e.kind, p.legs
FROM exchange.ledger_entries e
FULL JOIN (SELECT instrument_id, sequence, count(*) AS legs
           FROM exchange.postings GROUP BY instrument_id, sequence) p
    USING (instrument_id, sequence)
WHERE e.kind IS NULL OR coalesce(p.legs, 0) < 2;

-- :name assets_sum_to_zero
-- Nothing is made or lost: over all accounts, the outside world's too, each asset sums to zero.
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
    FROM (
        SELECT client_no, asset_id, instrument_id, amount
        FROM exchange.postings JOIN exchange.kept_after k USING (instrument_id)
        WHERE postings.sequence > k.sequence
        UNION ALL
        SELECT client_no, asset_id, instrument_id, posted FROM exchange.carried_balances
    ) u GROUP BY client_no, asset_id, instrument_id
) p USING (client_no, asset_id, instrument_id)
WHERE b.posted IS DISTINCT FROM p.posted;

-- :name positions_are_their_postings
SELECT instrument_id, client_no, n.net_quantity, p.posted AS postings
FROM exchange.positions n
FULL JOIN (
    SELECT u.instrument_id, u.client_no, sum(u.amount) AS posted
    FROM (
        SELECT p.instrument_id, p.client_no, p.asset_id, p.amount
        FROM exchange.postings p JOIN exchange.kept_after k USING (instrument_id)
        WHERE p.sequence > k.sequence
        UNION ALL
        SELECT instrument_id, client_no, asset_id, posted FROM exchange.carried_balances
    ) u
    JOIN exchange.instruments i
        ON i.instrument_id = u.instrument_id AND i.base_asset_id = u.asset_id
    GROUP BY u.instrument_id, u.client_no
) p USING (instrument_id, client_no)
WHERE n.net_quantity IS DISTINCT FROM p.posted;

-- :name positions_cost_their_postings
-- What the open part cost less what closing has earned is what the client has paid but for fees,
-- exactly.
SELECT n.instrument_id, n.client_no, n.total_cost - n.realized_pnl AS cost, -p.posted AS paid
FROM exchange.positions n
LEFT JOIN (
    SELECT u.instrument_id, u.client_no, sum(u.amount) AS posted
    FROM (
        SELECT p.instrument_id, p.client_no, p.amount
        FROM exchange.postings p
        JOIN exchange.kept_after k USING (instrument_id)
        WHERE p.sequence > k.sequence AND p.leg IN (3, 4)
        UNION ALL
        SELECT c.instrument_id, c.client_no, c.realized_pnl - c.total_cost
        FROM exchange.carried_positions c
    ) u
    GROUP BY u.instrument_id, u.client_no
) p USING (instrument_id, client_no)
WHERE n.total_cost - n.realized_pnl IS DISTINCT FROM -p.posted;

-- :name positions_are_their_fills
-- A position is the fold of its client's fills, in sequence.
SELECT instrument_id, client_no, n.net_quantity, n.total_cost, n.realized_pnl, f.state AS fills
FROM exchange.positions n
FULL JOIN (
    SELECT f.instrument_id, f.client_no, exchange.position_fold(
               (c.net_quantity, c.total_cost, c.realized_pnl)::exchange.position_state,
               f.quantity, f.price ORDER BY f.sequence, f.leg) AS state
    FROM (
        SELECT t.instrument_id, l.client_no, l.quantity, t.price, t.sequence, l.leg
        FROM exchange.trades t
        JOIN exchange.kept_after k USING (instrument_id)
        CROSS JOIN LATERAL (VALUES
            (1, CASE t.taker_side WHEN 'buy' THEN taker_client_no ELSE maker_client_no END,
             t.quantity),
            (2, CASE t.taker_side WHEN 'buy' THEN maker_client_no ELSE taker_client_no END,
             -t.quantity)
        ) AS l(leg, client_no, quantity)
        WHERE t.sequence > k.sequence
        UNION ALL
        -- Who has not traded since stays where he was.
        SELECT instrument_id, client_no, 0, 0, 0, 0 FROM exchange.carried_positions
    ) f
    LEFT JOIN exchange.carried_positions c USING (instrument_id, client_no)
    GROUP BY f.instrument_id, f.client_no
) f USING (instrument_id, client_no)
WHERE (n.net_quantity, n.total_cost, n.realized_pnl) IS DISTINCT FROM
      ((f.state).net_quantity, (f.state).total_cost, (f.state).realized_pnl);

-- :name orders_have_clients
SELECT o.instrument_id, o.order_no, o.client_no
FROM exchange.orders o
LEFT JOIN exchange.clients c USING (client_no)
WHERE c.client_no IS NULL;

-- :name trades_are_entered
-- Every trade has its ledger entry: two legs in each of the instrument's two assets, and two for
-- each side that pays a fee or is paid one. Every entry of an instrument's book has its trade.
SELECT instrument_id, sequence, t.maker_fee, t.taker_fee, p.legs, p.maker_fee, p.taker_fee
FROM exchange.trades t
FULL JOIN (SELECT * FROM exchange.ledger_entries WHERE instrument_id > 0) e
    USING (instrument_id, sequence)
LEFT JOIN (
    SELECT instrument_id, sequence, count(*) AS legs,
           coalesce(sum(amount) FILTER (WHERE leg = 6 AND client_no = -2), 0) AS taker_fee,
           coalesce(sum(amount) FILTER (WHERE leg = 8 AND client_no = -2), 0) AS maker_fee
    FROM exchange.postings WHERE instrument_id > 0 GROUP BY instrument_id, sequence
) p USING (instrument_id, sequence)
WHERE t.price IS NULL OR e.kind IS NULL OR p.maker_fee IS DISTINCT FROM t.maker_fee
   OR p.taker_fee IS DISTINCT FROM t.taker_fee
   OR p.legs <> 4 + CASE t.maker_fee WHEN 0 THEN 0 ELSE 2 END
                  + CASE t.taker_fee WHEN 0 THEN 0 ELSE 2 END;

-- :name fees_are_their_trades
-- What an instrument's book has posted to the fee account is the sum of its trades' fees.
SELECT instrument_id, asset_id, p.posted, f.fees
FROM (
    SELECT u.instrument_id, u.asset_id, sum(u.amount) AS posted
    FROM (
        SELECT p.instrument_id, p.asset_id, p.amount
        FROM exchange.postings p JOIN exchange.kept_after k USING (instrument_id)
        WHERE p.client_no = -2 AND p.instrument_id > 0 AND p.sequence > k.sequence
    ) u GROUP BY u.instrument_id, u.asset_id
) p
FULL JOIN (
    SELECT t.instrument_id, i.quote_asset_id AS asset_id, sum(t.maker_fee + t.taker_fee) AS fees
    FROM exchange.trades t
    JOIN exchange.instruments i USING (instrument_id)
    JOIN exchange.kept_after k USING (instrument_id)
    WHERE t.sequence > k.sequence
    GROUP BY t.instrument_id, i.quote_asset_id
) f USING (instrument_id, asset_id)
WHERE coalesce(p.posted, 0) <> coalesce(f.fees, 0);

-- :name house_entries_are_entered
-- The house's book is gapless; each entry says who posted it; only trades are in other books.
SELECT e.sequence, e.kind, h.kind AS signed
FROM (SELECT * FROM exchange.ledger_entries WHERE instrument_id = 0) e
FULL JOIN exchange.house_entries h USING (sequence)
WHERE e.kind IS DISTINCT FROM h.kind OR e.posted_at IS DISTINCT FROM h.posted_at
UNION ALL
SELECT b.sequence, NULL, NULL
FROM exchange.house_book b
CROSS JOIN (SELECT count(*) AS entries, coalesce(max(sequence), 0) AS last
            FROM exchange.house_entries) h
WHERE h.entries <> b.sequence OR h.last <> b.sequence;

-- :name settlement_sums_to_zero
-- What one party of a settlement gives, another receives.
SELECT asset_id, sum(posted) AS off_by FROM exchange.balances
WHERE client_no = -3 GROUP BY asset_id HAVING sum(posted) <> 0;

-- :name settlements_follow_on
-- Each run begins, in every book, where the one before has ended; each settled client has its entry.
SELECT b.day, b.instrument_id, b.from_sequence, b.previous
FROM (
    SELECT day, instrument_id, from_sequence,
           coalesce(lag(to_sequence) OVER (PARTITION BY instrument_id ORDER BY day), 0) AS previous
    FROM exchange.settlement_bounds
) b WHERE b.from_sequence <> b.previous
UNION ALL
SELECT c.day, 0, c.sequence, h.sequence
FROM exchange.settlement_clients c
LEFT JOIN exchange.house_entries h ON h.sequence = c.sequence AND h.kind = 'settlement'
WHERE h.sequence IS NULL;

-- :name settlements_are_their_trades
-- What settlement has discharged is what trading had moved up to the last run's bounds.
SELECT client_no, asset_id, sum(amount) AS off_by
FROM (
    SELECT p.client_no, p.asset_id, p.amount
    FROM exchange.postings p
    JOIN exchange.kept_after k USING (instrument_id)
    JOIN exchange.settlement_bounds b USING (instrument_id)
    WHERE b.day = (SELECT max(day) FROM exchange.settlement_runs)
      AND p.instrument_id > 0 AND p.sequence > k.sequence AND p.sequence <= b.to_sequence
    UNION ALL
    SELECT client_no, asset_id, posted FROM exchange.carried_balances
    UNION ALL
    SELECT p.client_no, p.asset_id, p.amount
    FROM exchange.house_entries h
    JOIN exchange.postings p ON p.instrument_id = 0 AND p.sequence = h.sequence
    WHERE h.kind = 'settlement' AND p.client_no <> -3
) u GROUP BY client_no, asset_id HAVING sum(amount) <> 0;

-- :name closing_balances_are_their_postings
-- Closing balances of the last run are all postings within its bounds.
SELECT client_no, asset_id, c.posted, p.posted AS postings
FROM (SELECT * FROM exchange.closing_balances
      WHERE day = (SELECT max(day) FROM exchange.settlement_runs)) c
FULL JOIN (
    SELECT client_no, asset_id, sum(amount) AS posted
    FROM (
        SELECT p.client_no, p.asset_id, p.amount
        FROM exchange.postings p
        JOIN exchange.kept_after k USING (instrument_id)
        JOIN exchange.settlement_bounds b USING (instrument_id)
        WHERE b.day = (SELECT max(day) FROM exchange.settlement_runs)
          AND p.sequence > k.sequence AND p.sequence <= b.to_sequence
        UNION ALL
        SELECT client_no, asset_id, posted FROM exchange.carried_balances
    ) u GROUP BY client_no, asset_id
) p USING (client_no, asset_id)
WHERE c.posted IS DISTINCT FROM p.posted;

-- :name fills_are_their_trades
-- What an order has filled, in quantity and in value, is the sum of its trades, of which none is
-- retired if its order is not.
SELECT instrument_id, order_no, o.filled_quantity, f.quantity AS traded
FROM (
    SELECT o.* FROM exchange.orders o
    JOIN exchange.kept_after k USING (instrument_id) WHERE o.sequence > k.sequence
) o
FULL JOIN (
    SELECT instrument_id, order_no, sum(quantity) AS quantity, sum(quantity * price) AS value
    FROM (
        SELECT instrument_id, maker_order_no AS order_no, quantity, price FROM exchange.trades
        UNION ALL
        SELECT instrument_id, taker_order_no, quantity, price FROM exchange.trades
    ) sides
    WHERE NOT EXISTS (
        SELECT FROM exchange.orders old
        JOIN exchange.kept_after k USING (instrument_id)
        WHERE k.sequence > 0 AND old.instrument_id = sides.instrument_id
          AND old.order_no = sides.order_no AND old.sequence <= k.sequence
    )
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
SELECT s.instrument_id, s.sequence AS stored, k.sequence AS retired, e.events, e.last
FROM exchange.shard s
JOIN exchange.kept_after k USING (instrument_id)
LEFT JOIN (
    SELECT instrument_id, count(DISTINCT log.sequence) AS events, count(*) AS rows,
           min(log.sequence) AS first, max(log.sequence) AS last
    FROM (
        SELECT instrument_id, sequence FROM exchange.order_events
        UNION ALL
        SELECT instrument_id, sequence FROM exchange.trades
    ) log
    JOIN exchange.kept_after k USING (instrument_id) WHERE log.sequence > k.sequence
    GROUP BY instrument_id
) e USING (instrument_id)
WHERE coalesce(e.events, 0) <> s.sequence - k.sequence
   OR coalesce(e.rows, 0) <> s.sequence - k.sequence
   OR coalesce(e.last, k.sequence) <> s.sequence
   OR coalesce(e.first, k.sequence + 1) <> k.sequence + 1;

-- :name numbers_are_gapless
SELECT s.instrument_id, s.order_no, o.orders, s.trade_no, t.trades
FROM exchange.shard s
JOIN exchange.kept_after k USING (instrument_id)
LEFT JOIN (SELECT instrument_id, count(*) AS orders, max(order_no) AS last
           FROM exchange.orders GROUP BY instrument_id) o USING (instrument_id)
LEFT JOIN (SELECT instrument_id, count(DISTINCT t.trade_no) AS trades, max(t.trade_no) AS last
           FROM exchange.trades t JOIN exchange.kept_after k USING (instrument_id)
           WHERE t.sequence > k.sequence
           GROUP BY instrument_id) t USING (instrument_id)
WHERE coalesce(o.orders, 0) <> s.order_no OR coalesce(o.last, 0) <> s.order_no
   OR coalesce(t.trades, 0) <> s.trade_no - k.trade_no
   OR coalesce(t.last, k.trade_no) <> s.trade_no;

-- :name resting_orders_are_their_events
-- What remains of each resting order is what its events leave of it, and nothing else rests: the
-- books, rebuilt from the log.
SELECT instrument_id, order_no, o.remaining, l.remaining AS logged
FROM (
    SELECT instrument_id, order_no, quantity - filled_quantity AS remaining
    FROM exchange.orders WHERE status IN ('open', 'partially_filled')
) o
FULL JOIN (
    SELECT instrument_id, order_no, sum(quantity) AS remaining
    FROM (
        SELECT instrument_id, order_no, kind = 'accepted' AS accepted,
               CASE kind WHEN 'accepted' THEN quantity ELSE -quantity END AS quantity
        FROM exchange.order_events WHERE kind <> 'rejected'
        UNION ALL
        SELECT instrument_id, maker_order_no, false, -quantity FROM exchange.trades
        UNION ALL
        SELECT instrument_id, taker_order_no, false, -quantity FROM exchange.trades
    ) log
    GROUP BY instrument_id, order_no
    -- The beginning of an order may be retired; nothing that is retired still rests.
    HAVING sum(quantity) <> 0 AND bool_or(accepted)
) l USING (instrument_id, order_no)
WHERE o.remaining IS DISTINCT FROM l.remaining;
