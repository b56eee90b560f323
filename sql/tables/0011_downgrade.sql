-- By its name alone: there is one of it.
DROP FUNCTION exchange.commit_batch_v4;
