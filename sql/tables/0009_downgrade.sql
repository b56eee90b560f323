-- Without timelines nobody notices a restore; the history itself is untouched.
DROP FUNCTION exchange.recent_fees_v1(timestamptz);
DROP FUNCTION exchange.recent_clients_v1(timestamptz);
DROP FUNCTION exchange.list_timelines_v1();
DROP FUNCTION exchange.begin_timeline_v1(text);
DROP FUNCTION exchange.current_timeline_v1();
DROP TABLE exchange.timelines;
DROP FUNCTION exchange.acquire_shard_v2(integer, text, integer, bigint);
