-- What analysts read by.

-- The best price of each side at once, for the mark price, however many orders rest.
CREATE INDEX orders_resting_price ON exchange.orders (instrument_id, side, price)
    WHERE status IN ('open', 'partially_filled');

-- The house's book by client, and by time. Other books' postings are found by their trades.
CREATE INDEX postings_i0_client ON exchange.postings_i0 (client_no, sequence);
CREATE INDEX house_entries_time ON exchange.house_entries (posted_at);
