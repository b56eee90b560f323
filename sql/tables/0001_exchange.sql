-- The exchange's tables. Amounts are exact numerics in natural units (12.5 means 12.5 BTC or USD).
-- Functions are the only writers: see sql/functions/.

CREATE TYPE exchange.side AS ENUM ('buy', 'sell');
CREATE TYPE exchange.order_type AS ENUM ('limit', 'market');
CREATE TYPE exchange.order_status AS ENUM
    ('open', 'partially_filled', 'filled', 'cancelled', 'rejected');
CREATE TYPE exchange.event_kind AS ENUM ('accepted', 'cancelled', 'rejected');
CREATE TYPE exchange.entry_kind AS ENUM ('trade');

CREATE TABLE exchange.assets (
    asset_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset text NOT NULL UNIQUE CHECK (asset ~ '^[A-Z0-9]{1,16}$')
);
COMMENT ON TABLE exchange.assets IS 'What an account is denominated in.';

CREATE TABLE exchange.instruments (
    instrument_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument text NOT NULL UNIQUE,
    base_asset_id integer NOT NULL REFERENCES exchange.assets,
    quote_asset_id integer NOT NULL REFERENCES exchange.assets,
    tick_size numeric NOT NULL CHECK (tick_size >= 0.00000001 AND scale(tick_size) <= 8),
    lot_size numeric NOT NULL CHECK (lot_size >= 0.00000001 AND scale(lot_size) <= 8),
    status text NOT NULL DEFAULT 'trading' CHECK (status IN ('trading')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (base_asset_id <> quote_asset_id)
);
COMMENT ON TABLE exchange.instruments IS 'What is traded: base asset, quote asset, tick and lot.';

CREATE TABLE exchange.shard (
    instrument_id integer PRIMARY KEY REFERENCES exchange.instruments,
    epoch bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    last_stream_id text NOT NULL DEFAULT '0-0',
    sequence bigint NOT NULL DEFAULT 0,
    order_no bigint NOT NULL DEFAULT 0,
    trade_no bigint NOT NULL DEFAULT 0,
    last_time_us bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE exchange.shard IS
    'One row per instrument: who matches it (owner, epoch, lease) and how far it has come. '
    'The position moves in the transaction that makes the effects of the entries durable.';

CREATE TABLE exchange.clients (
    client_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE exchange.clients IS 'The owners of orders and accounts, numbered at first sight.';

CREATE TABLE exchange.orders (
    instrument_id integer NOT NULL,
    order_no bigint NOT NULL CHECK (order_no BETWEEN 1 AND 9007199254740991),
    order_id text NOT NULL,
    client_no bigint NOT NULL,
    side exchange.side NOT NULL,
    type exchange.order_type NOT NULL,
    price numeric CHECK (price > 0),
    quantity numeric NOT NULL CHECK (quantity > 0),
    filled_quantity numeric NOT NULL,
    filled_value numeric NOT NULL,
    status exchange.order_status NOT NULL,
    status_reason text,
    idempotency_key text,
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, order_no),
    CONSTRAINT orders_order_id_key UNIQUE (order_id),
    CHECK ((price IS NULL) = (type = 'market')),
    -- Fills never exceed the order, and status and fills never disagree.
    CONSTRAINT orders_status_check CHECK (
        CASE status
            WHEN 'open' THEN filled_quantity = 0 AND type = 'limit'
            WHEN 'partially_filled'
                THEN filled_quantity > 0 AND filled_quantity < quantity AND type = 'limit'
            WHEN 'filled' THEN filled_quantity = quantity
            WHEN 'cancelled' THEN filled_quantity >= 0 AND filled_quantity < quantity
            WHEN 'rejected' THEN filled_quantity = 0
        END
    )
);
CREATE UNIQUE INDEX orders_idempotency_key ON exchange.orders
    (client_no, instrument_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX orders_resting ON exchange.orders (instrument_id, order_no)
    WHERE status IN ('open', 'partially_filled');
COMMENT ON TABLE exchange.orders IS
    'Every order that was accepted or rejected. Terms never change; fills and status do. '
    'sequence is that of its accepted or rejected event.';

CREATE TABLE exchange.trades (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    trade_no bigint NOT NULL CHECK (trade_no BETWEEN 1 AND 9007199254740991),
    price numeric NOT NULL CHECK (price > 0),
    quantity numeric NOT NULL CHECK (quantity > 0),
    taker_side exchange.side NOT NULL,
    maker_order_no bigint NOT NULL,
    taker_order_no bigint NOT NULL,
    maker_client_no bigint NOT NULL,
    taker_client_no bigint NOT NULL,
    traded_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, sequence),
    CHECK (maker_order_no < taker_order_no)
);
CREATE INDEX trades_maker ON exchange.trades (instrument_id, maker_order_no);
COMMENT ON TABLE exchange.trades IS
    'Each match of a maker and a taker. A trade is an event: together with order_events its '
    'sequences are gapless per instrument. A taker''s trades follow its accepted event.';

CREATE TABLE exchange.order_events (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    kind exchange.event_kind NOT NULL,
    order_no bigint NOT NULL,
    side exchange.side NOT NULL,
    type exchange.order_type NOT NULL,
    price numeric,
    quantity numeric NOT NULL,
    reason text,
    happened_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, sequence)
);
COMMENT ON TABLE exchange.order_events IS
    'The event log but for trades: accepted and rejected carry the order''s terms, cancelled the '
    'quantity that was removed. With trades it rebuilds every book; it is also the outbox.';

CREATE TABLE exchange.ledger_entries (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    kind exchange.entry_kind NOT NULL,
    posted_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, sequence)
);
COMMENT ON TABLE exchange.ledger_entries IS
    'Immutable, balanced records. The entry of a trade has the trade''s instrument and sequence.';

CREATE TABLE exchange.postings (
    instrument_id integer NOT NULL,
    sequence bigint NOT NULL,
    leg smallint NOT NULL,
    client_no bigint NOT NULL,
    asset_id integer NOT NULL,
    amount numeric NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (instrument_id, sequence, leg)
);
COMMENT ON TABLE exchange.postings IS
    'The legs of ledger entries. A credit, positive, is received by the account; a debit, '
    'negative, is given. An account is a client''s balance in one asset.';

CREATE TABLE exchange.balances (
    client_no bigint NOT NULL,
    asset_id integer NOT NULL,
    instrument_id integer NOT NULL,
    posted numeric NOT NULL,
    PRIMARY KEY (client_no, asset_id, instrument_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE exchange.balances IS
    'Sum of postings per account, kept apart by the instrument whose entries posted them, so that '
    'two matchers never wait for each other. A client''s balance in an asset is the sum of these.';

CREATE TABLE exchange.positions (
    instrument_id integer NOT NULL,
    client_no bigint NOT NULL,
    net_quantity numeric NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, client_no)
) WITH (fillfactor = 80);
COMMENT ON TABLE exchange.positions IS
    'Signed quantity that a client has bought (+) and sold (-) in an instrument.';

CREATE TABLE exchange.dead_letters (
    instrument_id integer NOT NULL,
    stream_id text NOT NULL,
    payload bytea NOT NULL,
    error text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (instrument_id, stream_id)
);
COMMENT ON TABLE exchange.dead_letters IS
    'Stream entries that could not be applied, kept whole. They changed nothing else.';
