DROP FUNCTION exchange.report_matcher_v2(text, integer);
