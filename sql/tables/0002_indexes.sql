-- What the public listings read by.

-- A client's orders, newest first, per status and instrument.
CREATE INDEX orders_of_client ON exchange.orders (client_no, status, instrument_id, order_no);

-- Everybody's orders of one status, also a rare one. It serves what orders_resting served, which
-- goes: the resting orders of an instrument are two ranges of it.
CREATE INDEX orders_of_status ON exchange.orders (instrument_id, status, order_no);
DROP INDEX exchange.orders_resting;

CREATE INDEX trades_time ON exchange.trades (instrument_id, traded_at);
