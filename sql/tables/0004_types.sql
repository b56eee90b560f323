-- What the functions behind the analysts' schema pass to each other.

CREATE TYPE exchange.book_window AS (
    instrument_id integer,
    direction integer,
    from_at timestamptz,
    to_at timestamptz,
    after_sequence bigint,
    to_sequence bigint
);
COMMENT ON TYPE exchange.book_window IS
    'Entries of one book (0: the house''s) by time, both ends in, and by sequence, the first out.';

CREATE TYPE exchange.book_level AS (side exchange.side, price numeric, quantity numeric);
COMMENT ON TYPE exchange.book_level IS 'One level of a book that is being rebuilt.';
