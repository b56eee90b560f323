-- The roles of the exchange, made once per server. Platforms that do not let us make roles run
-- everything as the one user they give; then the grants below have nobody to go to, and the
-- functions remain the only writers by convention.
DO $$
DECLARE
    v_role text;
    v_schema text;
    v_owner text := '';
BEGIN
    FOREACH v_role IN ARRAY ARRAY[
        'exchange_owner', 'exchange_matcher', 'exchange_edge', 'exchange_jobs', 'exchange_analyst']
    LOOP
        BEGIN
            IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = v_role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
            END IF;
            IF NOT pg_has_role(current_user, v_role, 'MEMBER') THEN
                EXECUTE format('GRANT %I TO %I', v_role, current_user);
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % cannot be made or granted here; going on without it', v_role;
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server is being migrated at the same moment
        END;
    END LOOP;
    IF EXISTS (SELECT 1 FROM pg_roles
               WHERE rolname = 'exchange_owner' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        v_owner := 'AUTHORIZATION exchange_owner';
    END IF;
    FOREACH v_schema IN ARRAY ARRAY['exchange', 'analytics'] LOOP
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I %s', v_schema, v_owner);
    END LOOP;
END
$$;
