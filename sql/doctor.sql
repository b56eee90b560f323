-- What `python -m ops doctor` asks PostgreSQL, by name.

-- :name server
-- What a lost acknowledgement, a wrong answer or a refused connection would come from. The limit is
-- of connections that are not kept for administrators; those of this very session are not counted.
SELECT current_setting('server_version'),
       current_setting('server_version_num')::integer,
       pg_is_in_recovery(),
       current_setting('fsync'),
       current_setting('full_page_writes'),
       current_setting('synchronous_commit'),
       current_setting('server_encoding'),
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer,
       (SELECT r.rolconnlimit FROM pg_roles r WHERE r.rolname = session_user),
       (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid());

-- :name clock
SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- :name shards
-- Each instrument: whether somebody matches it, who and by which epoch, how far it has come in its
-- stream, and the entries that could not be applied.
SELECT i.instrument, s.owner IS NOT NULL AND s.lease_until > clock_timestamp(), s.owner, s.epoch,
       s.last_stream_id,
       (SELECT count(*) FROM exchange.dead_letters d WHERE d.instrument_id = i.instrument_id)
FROM exchange.instruments i JOIN exchange.shard s USING (instrument_id)
ORDER BY i.instrument_id;
