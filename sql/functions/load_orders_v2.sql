-- A page of the resting orders of one instrument, in columns that load fast: this is what a matcher
-- recovers from, and what an engine snapshot keeps (format 1; workers/core/engine_snapshot.py reads it).
-- Arguments: instrument number; status, open or partially_filled; orders after this number, at most
-- p_limit of them; or, where not null, those among these order numbers.
-- Result: no row when there are none, else one row: how many orders; the number of the last one, after
-- which the next page begins; and their columns, one after another:
--   numbers  8 bytes each, as int8send: all order numbers, all client numbers, all times of creation
--            (microseconds since 2000), and, unless open, all times of the last change;
--   texts    lines of values with commas between them: order ids, client ids, sides (b or s each, no
--            commas), prices, quantities (units of 1e-8), keys, and, unless open, filled quantities
--            and filled values (1e-16).
-- Every column holds the orders in the same arrangement, which is none in particular.
-- Locks: none. Read by index; the plan is made for the arguments at hand.
CREATE FUNCTION exchange.load_orders_v2(
    p_instrument_id integer, p_status exchange.order_status, p_after bigint,
    p_order_nos bigint[] DEFAULT NULL, p_limit integer DEFAULT 50000
) RETURNS TABLE (orders integer, last_order_no bigint, numbers bytea, texts text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT count(*)::integer, max(o.order_no),
           string_agg(int8send(o.order_no), '') || string_agg(int8send(o.client_no), '')
               || string_agg(timestamptz_send(o.created_at), '')
               || CASE WHEN p_status = 'open' THEN ''
                       ELSE string_agg(timestamptz_send(o.updated_at), '') END,
           concat_ws(
               E'\n',
               string_agg(o.order_id, ','),
               string_agg(c.client_id, ','),
               string_agg(CASE o.side WHEN 'buy' THEN 'b' ELSE 's' END, ''),
               string_agg(trunc(o.price * 100000000)::text, ','),
               string_agg(trunc(o.quantity * 100000000)::text, ','),
               string_agg(coalesce(o.idempotency_key, ''), ','),
               CASE WHEN p_status <> 'open'
                   THEN string_agg(trunc(o.filled_quantity * 100000000)::text, ',') END,
               CASE WHEN p_status <> 'open'
                   THEN string_agg(trunc(o.filled_value * 10000000000000000)::text, ',') END)
    FROM (
        (SELECT r.* FROM orders r
         WHERE p_order_nos IS NULL
           AND r.instrument_id = p_instrument_id AND r.status = p_status AND r.order_no > p_after
         ORDER BY r.order_no LIMIT p_limit)
        UNION ALL
        SELECT r.* FROM unnest(p_order_nos) AS wanted(order_no)
        CROSS JOIN LATERAL (
            SELECT * FROM orders r
            WHERE r.instrument_id = p_instrument_id AND r.order_no = wanted.order_no
              AND r.status = p_status
            OFFSET 0  -- one by one: any other join would read all that rests
        ) r
    ) o
    JOIN clients c USING (client_no)
    HAVING count(*) > 0;
END
$$;
