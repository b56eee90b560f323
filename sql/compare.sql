-- What two databases of the same exchange must agree on, in an order that both can be read in.
-- Numbers that a database gives (of clients, segments, assets) are told by their names.

-- :name orders
SELECT i.instrument, o.order_no, o.order_id, c.client_id, o.side::text, o.type::text, o.price,
       o.quantity, o.filled_quantity, o.filled_value, o.status::text, o.status_reason,
       o.idempotency_key, o.sequence, o.created_at, o.updated_at
FROM exchange.orders o
JOIN exchange.instruments i USING (instrument_id)
JOIN exchange.clients c USING (client_no)
ORDER BY i.instrument COLLATE "C", o.order_no;

-- :name trades
SELECT i.instrument, t.sequence, t.trade_no, t.price, t.quantity, t.taker_side::text,
       t.maker_order_no, t.taker_order_no, m.client_id, k.client_id, t.traded_at, t.maker_fee,
       t.taker_fee, ms.segment, ks.segment
FROM exchange.trades t
JOIN exchange.instruments i USING (instrument_id)
JOIN exchange.clients m ON m.client_no = t.maker_client_no
JOIN exchange.clients k ON k.client_no = t.taker_client_no
JOIN exchange.client_segments ms ON ms.segment_id = t.maker_segment_id
JOIN exchange.client_segments ks ON ks.segment_id = t.taker_segment_id
ORDER BY i.instrument COLLATE "C", t.sequence;

-- :name books
SELECT i.instrument, o.side::text, o.price, o.order_no, o.quantity - o.filled_quantity
FROM exchange.orders o
JOIN exchange.instruments i USING (instrument_id)
WHERE o.status IN ('open', 'partially_filled')
ORDER BY i.instrument COLLATE "C", o.side, o.price, o.order_no;

-- :name events
SELECT i.instrument, e.sequence, e.kind::text, e.order_no, e.side::text, e.type::text, e.price,
       e.quantity, e.reason, e.happened_at
FROM exchange.order_events e
JOIN exchange.instruments i USING (instrument_id)
ORDER BY i.instrument COLLATE "C", e.sequence;

-- :name postings
SELECT i.instrument, p.sequence, p.leg, c.client_id, a.asset, p.amount
FROM exchange.postings p
JOIN exchange.instruments i USING (instrument_id)
JOIN exchange.clients c USING (client_no)
JOIN exchange.assets a USING (asset_id)
ORDER BY i.instrument COLLATE "C", p.sequence, p.leg;

-- :name balances
SELECT i.instrument, c.client_id, a.asset, b.posted
FROM exchange.balances b
JOIN exchange.instruments i USING (instrument_id)
JOIN exchange.clients c USING (client_no)
JOIN exchange.assets a USING (asset_id)
ORDER BY i.instrument COLLATE "C", c.client_id COLLATE "C", a.asset COLLATE "C";

-- :name positions
SELECT i.instrument, c.client_id, p.net_quantity, p.total_cost, p.realized_pnl, p.updated_at
FROM exchange.positions p
JOIN exchange.instruments i USING (instrument_id)
JOIN exchange.clients c USING (client_no)
ORDER BY i.instrument COLLATE "C", c.client_id COLLATE "C";
