-- Nothing is stored for these.
DROP FUNCTION exchange.fees_earned_v1();
DROP FUNCTION exchange.knows_client_v1(text);
