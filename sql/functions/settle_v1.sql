-- Settle a day: net what each account, @fees included, has moved by trading, and discharge it by one
-- balanced entry of the house's book per client: the client's leg is -net, that of @settlement +net,
-- in each asset whose net is not zero. An account whose nets are all zero gets no entry. Over all
-- clients @settlement comes to zero in every asset, as every trade does.
--
-- A run covers, per instrument, the trades after those of the run before, up to the last one made
-- before the end of the day: each trade once, whatever the clocks did. Days may be left out (the next
-- run covers them) but not settled in another order.
-- Arguments: the day, over by this server's clock (UTC); who settles it.
-- Result: the run; repeated says that the day was settled before: then nothing has changed.
-- Errors: EX008 when the day is not over, or a later one is settled; EX005 for an unusable actor.
-- Locks: settlement_runs against other runs, which wait and return the first; from when the nets are
-- known until commit the house book's row.
CREATE FUNCTION exchange.settle_v1(p_day date, p_actor text) RETURNS TABLE (
    day date, run_no bigint, settled_at timestamptz, actor text, clients integer, repeated boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_end timestamptz := (p_day + 1)::timestamp AT TIME ZONE 'UTC';
    v_last date;
    v_bounds record;
    v_client_nos bigint[];
    v_asset_ids integer[];
    v_nets numeric[];
    v_clients integer;
    v_sequence bigint;
    v_posted_at timestamptz;
BEGIN
    IF coalesce(length(p_actor), 0) NOT BETWEEN 1 AND 128 THEN
        RAISE EXCEPTION 'the actor has 1 to 128 characters' USING ERRCODE = 'EX005';
    END IF;
    IF p_day IS NULL OR NOT isfinite(p_day) OR clock_timestamp() < v_end THEN
        RAISE EXCEPTION 'day % is not over (UTC)', p_day USING ERRCODE = 'EX008';
    END IF;
    LOCK TABLE settlement_runs IN SHARE ROW EXCLUSIVE MODE;
    RETURN QUERY SELECT r.day, r.run_no, r.settled_at, r.actor, r.clients, true
                 FROM settlement_runs r WHERE r.day = p_day;
    IF FOUND THEN
        RETURN;
    END IF;
    v_last := (SELECT max(r.day) FROM settlement_runs r);
    IF v_last > p_day THEN
        RAISE EXCEPTION 'day % cannot be settled: % is settled already, and has covered it',
            p_day, v_last USING ERRCODE = 'EX008';
    END IF;

    FOR v_bounds IN
        SELECT i.instrument_id, coalesce(b.to_sequence, 0) AS from_sequence
        FROM instruments i
        LEFT JOIN settlement_bounds b ON b.day = v_last AND b.instrument_id = i.instrument_id
    LOOP
        INSERT INTO settlement_bounds (day, instrument_id, from_sequence, to_sequence)
        SELECT p_day, v_bounds.instrument_id, v_bounds.from_sequence,
               greatest(v_bounds.from_sequence, max(t.sequence))
        FROM trades t
        -- The trades of the last moment are many: a batch has one time.
        WHERE t.instrument_id = v_bounds.instrument_id AND t.traded_at = (
            SELECT l.traded_at FROM trades l
            WHERE l.instrument_id = v_bounds.instrument_id AND l.traded_at < v_end
            ORDER BY l.traded_at DESC LIMIT 1);
    END LOOP;

    SELECT array_agg(m.client_no), array_agg(m.asset_id), array_agg(m.net),
           count(DISTINCT m.client_no) FILTER (WHERE m.net <> 0)
    INTO v_client_nos, v_asset_ids, v_nets, v_clients
    FROM (
        SELECT p.client_no, p.asset_id, sum(p.amount) AS net
        FROM settlement_bounds b
        JOIN postings p ON p.instrument_id = b.instrument_id
                       AND p.sequence > b.from_sequence AND p.sequence <= b.to_sequence
        WHERE b.day = p_day
        GROUP BY p.client_no, p.asset_id
    ) m;

    UPDATE house_book h
    SET sequence = h.sequence + v_clients,
        last_posted_at = greatest(clock_timestamp(), h.last_posted_at)
    RETURNING h.sequence - v_clients, h.last_posted_at INTO v_sequence, v_posted_at;
    PERFORM make_ranges_v1(0, v_sequence + v_clients);
    WITH nets AS MATERIALIZED (
        SELECT v_sequence + dense_rank() OVER (ORDER BY u.client_no) AS sequence,
               row_number() OVER (PARTITION BY u.client_no ORDER BY u.asset_id) AS n,
               u.client_no, u.asset_id, u.net
        FROM unnest(v_client_nos, v_asset_ids, v_nets) AS u(client_no, asset_id, net)
        WHERE u.net <> 0
    ), entered AS (
        INSERT INTO ledger_entries (instrument_id, sequence, kind, posted_at)
        SELECT 0, n.sequence, 'settlement', v_posted_at FROM nets n WHERE n.n = 1
    ), signed AS (
        INSERT INTO house_entries (sequence, kind, actor, reason, posted_at)
        SELECT n.sequence, 'settlement', p_actor, 'settlement of ' || p_day, v_posted_at
        FROM nets n WHERE n.n = 1
    ), discharged AS (
        INSERT INTO settlement_clients (day, client_no, sequence)
        SELECT p_day, n.client_no, n.sequence FROM nets n WHERE n.n = 1
    ), posted AS (
        INSERT INTO postings (instrument_id, sequence, leg, client_no, asset_id, amount)
        SELECT 0, n.sequence, l.leg, l.client_no, n.asset_id, l.amount
        FROM nets n
        CROSS JOIN LATERAL (VALUES
            (2 * n.n - 1, n.client_no, -n.net), (2 * n.n, -3, n.net)
        ) AS l(leg, client_no, amount)
        RETURNING client_no, asset_id, amount
    )
    INSERT INTO balances AS b (client_no, asset_id, instrument_id, posted)
    SELECT p.client_no, p.asset_id, 0, sum(p.amount)
    FROM posted p GROUP BY p.client_no, p.asset_id
    ON CONFLICT (client_no, asset_id, instrument_id)
        DO UPDATE SET posted = b.posted + excluded.posted;

    INSERT INTO settlement_bounds (day, instrument_id, from_sequence, to_sequence)
    SELECT p_day, 0, coalesce((SELECT b.to_sequence FROM settlement_bounds b
                               WHERE b.day = v_last AND b.instrument_id = 0), 0),
           v_sequence + v_clients;
    -- The last closing balances and what has been posted since.
    INSERT INTO closing_balances (day, client_no, asset_id, posted)
    SELECT p_day, u.client_no, u.asset_id, sum(u.amount)
    FROM (
        SELECT c.client_no, c.asset_id, c.posted AS amount
        FROM closing_balances c WHERE c.day = v_last
        UNION ALL
        SELECT n.client_no, n.asset_id, n.net
        FROM unnest(v_client_nos, v_asset_ids, v_nets) AS n(client_no, asset_id, net)
        UNION ALL
        SELECT p.client_no, p.asset_id, p.amount
        FROM settlement_bounds b
        JOIN postings p ON p.instrument_id = 0
                       AND p.sequence > b.from_sequence AND p.sequence <= b.to_sequence
        WHERE b.day = p_day AND b.instrument_id = 0
    ) u
    GROUP BY u.client_no, u.asset_id;

    RETURN QUERY
    INSERT INTO settlement_runs AS r (day, settled_at, actor, clients)
    VALUES (p_day, v_posted_at, p_actor, v_clients)
    RETURNING r.day, r.run_no, r.settled_at, r.actor, r.clients, false;
END
$$;
