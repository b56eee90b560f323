-- The database defends itself, also against a superuser in a hurry.

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange.trades
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange.order_events
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange.ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange.postings
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.refuse_change_v1();
CREATE TRIGGER balanced AFTER INSERT ON exchange.postings
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION exchange.check_balanced_v1();
