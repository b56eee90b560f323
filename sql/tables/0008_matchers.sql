-- Who matches. Unlogged: a heartbeat costs no disk write, and a crash of the server may forget them,
-- because every live matcher says so again within a quarter of its lease.
CREATE UNLOGGED TABLE exchange.matchers (
    owner text PRIMARY KEY,
    alive_until timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE exchange.matchers IS
    'Matchers by their last heartbeat, by which they share the instruments. It decides nothing about '
    'who may commit: that is the epoch in shard.';
