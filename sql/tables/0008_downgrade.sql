-- Heartbeats are nobody's data.
DROP FUNCTION exchange.list_matchers_v1();
DROP FUNCTION exchange.list_shards_v1();
DROP FUNCTION exchange.release_lease_v2(integer, bigint);
DROP FUNCTION exchange.retire_matcher_v1(text);
DROP FUNCTION exchange.report_matcher_v1(text, integer);
DROP TABLE exchange.matchers;
