-- What analysts read by.

-- The best price of each side at once, for the mark price, however many orders rest.
CREATE INDEX orders_resting_price ON exchange.orders (instrument_id, side, price)
    WHERE status IN ('open', 'partially_filled');

-- The house book by client, and by time. The other books' postings are found by their trades.
CREATE INDEX postings_of_house ON exchange.postings (client_no, sequence) WHERE instrument_id = 0;
CREATE INDEX house_entries_time ON exchange.house_entries (posted_at);
