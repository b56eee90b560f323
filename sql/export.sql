-- What `python -m ops export` reads, by name. Each is run once per book, for the rows whose number is
-- in (after, upto]; times are text in UTC, amounts exact.

-- :name books
-- The books of a name (null: all), by number, with the ranges of numbers that lie between two times
-- (null: no limit): events and trades go by sequence, orders by order_no.
SELECT i.instrument_id, i.instrument,
       CASE WHEN p.begins IS NULL THEN 0
            ELSE exchange.last_sequence_at_v1(i.instrument_id, p.begins - interval '1 us') END,
       CASE WHEN p.ends IS NULL THEN s.sequence
            ELSE exchange.last_sequence_at_v1(i.instrument_id, p.ends - interval '1 us') END,
       CASE WHEN p.begins IS NULL THEN 0
            ELSE exchange.last_order_at(i.instrument_id, p.begins - interval '1 us') END,
       CASE WHEN p.ends IS NULL THEN s.order_no
            ELSE exchange.last_order_at(i.instrument_id, p.ends - interval '1 us') END
FROM (SELECT %(begins)s::timestamptz AS begins, %(ends)s::timestamptz AS ends) p,
     exchange.instruments i JOIN exchange.shard s USING (instrument_id)
WHERE i.instrument = %(instrument)s OR %(instrument)s::text IS NULL
ORDER BY i.instrument_id;

-- :name house
-- The range of the house's book between two times.
SELECT coalesce(min(sequence), 1) - 1, coalesce(max(sequence), 0)
FROM exchange.house_entries
WHERE (%(begins)s::timestamptz IS NULL OR posted_at >= %(begins)s)
  AND (%(ends)s::timestamptz IS NULL OR posted_at < %(ends)s);

-- :name stream_in_order
-- Rows come in the order of an index as they are read: nothing is hashed or sorted first.
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('cursor_tuple_fraction', '0.0001', true),
       set_config('timezone', 'UTC', true), set_config('statement_timeout', '0', true);

-- :name trades
SELECT i.instrument || '-' || t.trade_no AS trade_id, i.instrument, t.trade_no, t.sequence,
       to_char(t.traded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS traded_at,
       trim_scale(t.price) AS price, trim_scale(t.quantity) AS quantity,
       trim_scale(t.price * t.quantity) AS value, t.taker_side,
       m.client_id AS maker, k.client_id AS taker, mo.order_id AS maker_order_id,
       ko.order_id AS taker_order_id, trim_scale(t.maker_fee) AS maker_fee,
       trim_scale(t.taker_fee) AS taker_fee
FROM exchange.trades t
JOIN exchange.instruments i USING (instrument_id)
JOIN exchange.clients m ON m.client_no = t.maker_client_no
JOIN exchange.clients k ON k.client_no = t.taker_client_no
JOIN exchange.orders mo ON mo.instrument_id = t.instrument_id AND mo.order_no = t.maker_order_no
JOIN exchange.orders ko ON ko.instrument_id = t.instrument_id AND ko.order_no = t.taker_order_no
WHERE t.instrument_id = %(instrument_id)s AND t.sequence > %(after)s AND t.sequence <= %(upto)s
ORDER BY t.sequence;

-- :name orders
SELECT o.order_id, i.instrument, o.order_no, c.client_id, o.side, o.type,
       trim_scale(o.price) AS price, trim_scale(o.quantity) AS quantity,
       trim_scale(o.filled_quantity) AS filled_quantity, trim_scale(o.filled_value) AS filled_value,
       o.status, o.status_reason, o.idempotency_key, o.sequence,
       to_char(o.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at,
       to_char(o.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at
FROM exchange.orders o
JOIN exchange.instruments i USING (instrument_id)
JOIN exchange.clients c USING (client_no)
WHERE o.instrument_id = %(instrument_id)s AND o.order_no > %(after)s AND o.order_no <= %(upto)s
ORDER BY o.order_no;

-- :name ledger
SELECT coalesce(i.instrument, 'house') AS book, p.sequence, e.kind,
       to_char(e.posted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS posted_at,
       p.leg, c.client_id AS account, a.asset, trim_scale(p.amount) AS amount
FROM exchange.postings p
JOIN exchange.ledger_entries e ON e.instrument_id = %(instrument_id)s AND e.sequence = p.sequence
JOIN exchange.clients c USING (client_no)
JOIN exchange.assets a USING (asset_id)
LEFT JOIN exchange.instruments i ON i.instrument_id = p.instrument_id
WHERE p.instrument_id = %(instrument_id)s AND p.sequence > %(after)s AND p.sequence <= %(upto)s
ORDER BY p.sequence, p.leg;

-- :name events
SELECT i.instrument, e.sequence, e.kind,
       to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS happened_at,
       e.order_no, o.order_id, e.side, e.type, trim_scale(e.price) AS price,
       trim_scale(e.quantity) AS quantity, e.reason, e.trade_no, e.maker_order_no
FROM (
    SELECT sequence, kind::text, happened_at AS at, order_no, side, type, price, quantity, reason,
           NULL::bigint AS trade_no, NULL::bigint AS maker_order_no
    FROM exchange.order_events
    WHERE instrument_id = %(instrument_id)s AND sequence > %(after)s AND sequence <= %(upto)s
    UNION ALL
    SELECT sequence, 'trade', traded_at, taker_order_no, taker_side, NULL, price, quantity, NULL,
           trade_no, maker_order_no
    FROM exchange.trades
    WHERE instrument_id = %(instrument_id)s AND sequence > %(after)s AND sequence <= %(upto)s
) e
JOIN exchange.instruments i ON i.instrument_id = %(instrument_id)s
LEFT JOIN exchange.orders o ON o.instrument_id = %(instrument_id)s AND o.order_no = e.order_no
ORDER BY e.sequence;

-- :name book
SELECT i.instrument, %(upto)s::bigint AS sequence, b.side, b.level, b.price, b.quantity,
       b.cumulative, b.orders
FROM exchange.instruments i
CROSS JOIN LATERAL exchange.book_depth_v1(i.instrument_id, %(upto)s, %(levels)s) b
WHERE i.instrument_id = %(instrument_id)s;

-- :name lobster_events
-- Amounts in units of 1e-8, the time in microseconds.
SELECT e.kind, e.order_no, e.side, trunc(e.price * 100000000), trunc(e.quantity * 100000000),
       e.maker_order_no, exchange.to_us(e.at)
FROM (
    SELECT sequence, kind::text, order_no, side::text, price, quantity,
           NULL::bigint AS maker_order_no, happened_at AS at
    FROM exchange.order_events
    WHERE instrument_id = %(instrument_id)s AND sequence > %(after)s AND sequence <= %(upto)s
    UNION ALL
    SELECT sequence, 'trade', taker_order_no, taker_side::text, price, quantity, maker_order_no,
           traded_at
    FROM exchange.trades
    WHERE instrument_id = %(instrument_id)s AND sequence > %(after)s AND sequence <= %(upto)s
) e ORDER BY e.sequence;

-- :name lobster_book
SELECT side::text, trunc(price * 100000000), trunc(quantity * 100000000)
FROM exchange.book_at_v1(%(instrument_id)s, %(after)s);
