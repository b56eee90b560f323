DROP FUNCTION exchange.report_matcher_v2(text, integer);
DROP FUNCTION exchange.acquire_shard_v2(integer, text, integer);
