-- Post a deposit, a withdrawal or an adjustment: one balanced entry of the house's book.
-- Arguments
--   kind: 'deposit', 'withdrawal' or 'adjustment';
--   client ids, assets and amounts, in parallel. A deposit or a withdrawal names one client and how
--     much, above 0: the other leg, of @world, is added here. An adjustment names all its legs, at
--     least two, as they are posted: + is received, - is given; they sum to zero per asset. It may
--     name @world and @fees;
--   who posts it; a key: the same key has one effect; why.
-- Result: the entry's sequence in book 0, when it was posted, and whether it was there before:
-- the same key with the same kind, legs and reason returns the first entry.
-- Errors (nothing is stored)
--   EX005 an argument is unusable, or an asset unknown;
--   EX006 the key was used for an entry of other terms;
--   EX007 a withdrawal of more than the client has in the asset, over all books.
-- A client is numbered at first sight. Amounts have at most 16 decimals and are below 1e20.
-- Locks: the house book's row until commit; then the balances it changes, which only this book has.
CREATE FUNCTION exchange.post_entry_v1(
    p_kind text, p_client_ids text[], p_assets text[], p_amounts numeric[],
    p_actor text, p_idempotency_key text, p_reason text
) RETURNS TABLE (sequence bigint, posted_at timestamptz, repeated boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exchange, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_legs integer := coalesce(cardinality(p_client_ids), 0);
    v_wrong record;
    v_client_nos bigint[];
    v_asset_ids integer[];
    v_amounts numeric[] := p_amounts;
    v_sequence bigint;
    v_posted_at timestamptz;
    v_has numeric;
BEGIN
    IF p_kind IS NULL OR p_kind NOT IN ('deposit', 'withdrawal', 'adjustment') THEN
        RAISE EXCEPTION 'the kind is deposit, withdrawal or adjustment, not %',
            coalesce(p_kind, 'null') USING ERRCODE = 'EX005';
    END IF;
    IF coalesce(length(p_actor), 0) NOT BETWEEN 1 AND 128
       OR coalesce(length(p_idempotency_key), 0) NOT BETWEEN 1 AND 128
       OR coalesce(length(p_reason), 1000) > 512 THEN
        RAISE EXCEPTION 'actor and idempotency key have 1 to 128 characters, the reason at most 512'
            USING ERRCODE = 'EX005';
    END IF;
    IF v_legs NOT BETWEEN 1 AND 1000 OR array_ndims(p_client_ids) <> 1
       OR cardinality(p_assets) IS DISTINCT FROM v_legs
       OR cardinality(p_amounts) IS DISTINCT FROM v_legs
       OR (p_kind = 'adjustment') = (v_legs = 1) THEN
        RAISE EXCEPTION 'a deposit or withdrawal has one leg, an adjustment 2 to 1000, '
            'each with a client, an asset and an amount' USING ERRCODE = 'EX005';
    END IF;

    SELECT l.client_id, l.asset, l.amount, a.asset_id INTO v_wrong
    FROM unnest(p_client_ids, p_assets, p_amounts) WITH ORDINALITY
        AS l(client_id, asset, amount, n)
    LEFT JOIN assets a ON a.asset = l.asset
    WHERE (l.client_id ~ '^[A-Za-z0-9._:-]{1,64}$'
           OR p_kind = 'adjustment' AND l.client_id IN ('@world', '@fees')) IS NOT TRUE
       OR a.asset_id IS NULL
       OR (l.amount <> 0 AND abs(l.amount) < 1e20 AND scale(trim_scale(l.amount)) <= 16
           AND (p_kind = 'adjustment' OR l.amount > 0)) IS NOT TRUE
    ORDER BY l.n LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%', CASE
            WHEN v_wrong.client_id IS NULL OR v_wrong.client_id LIKE '@%'
                 OR v_wrong.client_id !~ '^[A-Za-z0-9._:-]{1,64}$'
                THEN format('%s is no client that a%s can name', quote_nullable(v_wrong.client_id),
                            CASE p_kind WHEN 'adjustment' THEN 'n ' ELSE ' ' END || p_kind)
            WHEN v_wrong.asset_id IS NULL
                THEN format('there is no asset %s', quote_nullable(v_wrong.asset))
            ELSE format('%s is no amount: it is %s, has at most 16 decimals and is below 1e20',
                        coalesce(v_wrong.amount::text, 'null'),
                        CASE p_kind WHEN 'adjustment' THEN 'not 0' ELSE 'above 0' END)
        END USING ERRCODE = 'EX005';
    END IF;
    IF p_kind = 'adjustment' THEN
        SELECT l.asset, sum(l.amount) AS amount INTO v_wrong
        FROM unnest(p_assets, p_amounts) AS l(asset, amount)
        GROUP BY l.asset HAVING sum(l.amount) <> 0 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'the legs do not balance: % is off by %', v_wrong.asset, v_wrong.amount
                USING ERRCODE = 'EX005';
        END IF;
    END IF;

    PERFORM ensure_clients_v1(p_client_ids);
    SELECT array_agg(c.client_no ORDER BY l.n), array_agg(a.asset_id ORDER BY l.n)
    INTO v_client_nos, v_asset_ids
    FROM unnest(p_client_ids, p_assets) WITH ORDINALITY AS l(client_id, asset, n)
    JOIN clients c ON c.client_id = l.client_id
    JOIN assets a ON a.asset = l.asset;
    IF p_kind <> 'adjustment' THEN
        v_client_nos := v_client_nos || -1::bigint;
        v_asset_ids := v_asset_ids || v_asset_ids;
        v_amounts := CASE p_kind WHEN 'deposit' THEN ARRAY[p_amounts[1], -p_amounts[1]]
                                 ELSE ARRAY[-p_amounts[1], p_amounts[1]] END;
    END IF;

    PERFORM FROM house_book FOR UPDATE;
    SELECT h.sequence, h.posted_at,
           h.kind::text = p_kind AND h.reason = p_reason AND v_client_nos = p.client_nos
               AND v_asset_ids = p.asset_ids AND v_amounts = p.amounts AS same
    INTO v_wrong
    FROM house_entries h
    CROSS JOIN LATERAL (
        SELECT array_agg(p.client_no ORDER BY p.leg) AS client_nos,
               array_agg(p.asset_id ORDER BY p.leg) AS asset_ids,
               array_agg(p.amount ORDER BY p.leg) AS amounts
        FROM postings p WHERE p.instrument_id = 0 AND p.sequence = h.sequence
    ) p
    WHERE h.idempotency_key = p_idempotency_key;
    IF FOUND THEN
        IF NOT v_wrong.same THEN
            RAISE EXCEPTION 'the key % was used for an entry of other terms, number %',
                p_idempotency_key, v_wrong.sequence USING ERRCODE = 'EX006';
        END IF;
        RETURN QUERY SELECT v_wrong.sequence, v_wrong.posted_at, true;
        RETURN;
    END IF;

    IF p_kind = 'withdrawal' THEN
        SELECT coalesce(sum(b.posted), 0) INTO v_has FROM balances b
        WHERE b.client_no = v_client_nos[1] AND b.asset_id = v_asset_ids[1];
        IF v_has < p_amounts[1] THEN
            RAISE EXCEPTION '% has % % and cannot withdraw %', p_client_ids[1],
                trim_scale(v_has), p_assets[1], trim_scale(p_amounts[1]) USING ERRCODE = 'EX007';
        END IF;
    END IF;

    UPDATE house_book h
    SET sequence = h.sequence + 1,
        last_posted_at = greatest(clock_timestamp(), h.last_posted_at)
    RETURNING h.sequence, h.last_posted_at INTO v_sequence, v_posted_at;
    PERFORM make_ranges_v1(0, v_sequence);
    WITH entered AS (
        INSERT INTO ledger_entries (instrument_id, sequence, kind, posted_at)
        VALUES (0, v_sequence, p_kind::entry_kind, v_posted_at)
    ), signed AS (
        INSERT INTO house_entries (sequence, kind, actor, reason, idempotency_key, posted_at)
        VALUES (v_sequence, p_kind::entry_kind, p_actor, p_reason, p_idempotency_key, v_posted_at)
    ), posted AS (
        INSERT INTO postings (instrument_id, sequence, leg, client_no, asset_id, amount)
        SELECT 0, v_sequence, l.leg, l.client_no, l.asset_id, trim_scale(l.amount)
        FROM unnest(v_client_nos, v_asset_ids, v_amounts) WITH ORDINALITY
            AS l(client_no, asset_id, amount, leg)
        RETURNING client_no, asset_id, amount
    )
    INSERT INTO balances AS b (client_no, asset_id, instrument_id, posted)
    SELECT p.client_no, p.asset_id, 0, sum(p.amount)
    FROM posted p GROUP BY p.client_no, p.asset_id
    ON CONFLICT (client_no, asset_id, instrument_id)
        DO UPDATE SET posted = b.posted + excluded.posted;
    RETURN QUERY SELECT v_sequence, v_posted_at, false;
END
$$;
