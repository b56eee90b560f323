CREATE FUNCTION analytics.order_lifecycle(p_order_id text) RETURNS TABLE (
    sequence bigint, happened_at timestamptz, event text, role text, price numeric,
    quantity numeric, trade_id text, counterparty text, fee numeric,
    filled_quantity numeric, remaining_quantity numeric, status text, reason text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = exchange, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_order orders%ROWTYPE;
    v_instrument text;
    v_after bigint;
    v_to bigint;
BEGIN
    SELECT * INTO v_order FROM orders o WHERE o.order_id = p_order_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no order %', coalesce(quote_literal(p_order_id), 'null')
            USING ERRCODE = '22023';
    END IF;
    v_instrument := (SELECT i.instrument FROM instruments i
                     WHERE i.instrument_id = v_order.instrument_id);
    -- A cancelled event has no index by order; it is among the few of its very microsecond.
    IF v_order.status = 'cancelled' THEN
        v_after := last_sequence_at_v1(v_order.instrument_id,
                                       v_order.updated_at - interval '1 microsecond');
        v_to := last_sequence_at_v1(v_order.instrument_id, v_order.updated_at);
    END IF;
    RETURN QUERY
    WITH steps AS (
        SELECT e.sequence, e.happened_at, e.kind::text AS event, NULL AS role, e.price,
               e.quantity, NULL::bigint AS trade_no, NULL::bigint AS other, NULL::numeric AS fee,
               e.reason
        FROM order_events e
        WHERE e.instrument_id = v_order.instrument_id AND e.order_no = v_order.order_no
          AND (e.sequence = v_order.sequence OR (e.sequence > v_after AND e.sequence <= v_to))
        UNION ALL
        SELECT t.sequence, t.traded_at, 'trade', 'maker', t.price, t.quantity, t.trade_no,
               t.taker_client_no, t.maker_fee, NULL
        FROM trades t
        WHERE t.instrument_id = v_order.instrument_id AND t.maker_order_no = v_order.order_no
        UNION ALL
        -- A taker's trades are the run of sequences right after its accepted event.
        SELECT t.sequence, t.traded_at, 'trade', 'taker', t.price, t.quantity, t.trade_no,
               t.maker_client_no, t.taker_fee, NULL
        FROM trades t
        WHERE t.instrument_id = v_order.instrument_id AND t.sequence > v_order.sequence
          AND t.sequence < coalesce(
              (SELECT min(e.sequence) FROM order_events e
               WHERE e.instrument_id = v_order.instrument_id AND e.sequence > v_order.sequence),
              9223372036854775807)
    ), states AS (
        SELECT s.*, coalesce(sum(s.quantity) FILTER (WHERE s.event = 'trade')
                             OVER (ORDER BY s.sequence), 0) AS filled
        FROM steps s
    )
    SELECT s.sequence, s.happened_at, s.event, s.role, trim_scale(s.price), trim_scale(s.quantity),
           v_instrument || '-' || s.trade_no, c.client_id, trim_scale(s.fee), trim_scale(s.filled),
           trim_scale(CASE WHEN s.event IN ('cancelled', 'rejected') THEN 0
                      ELSE v_order.quantity - s.filled END),
           CASE WHEN s.event IN ('cancelled', 'rejected') THEN s.event
                WHEN s.filled = v_order.quantity THEN 'filled'
                WHEN s.filled > 0 THEN 'partially_filled'
                ELSE 'open' END,
           s.reason
    FROM states s LEFT JOIN clients c ON c.client_no = s.other
    ORDER BY s.sequence;
END
$$;
COMMENT ON FUNCTION analytics.order_lifecycle IS $$
Everything that happened to one order, in order, and how it stood after each step.

Arguments
  p_order_id  the order

Columns (a row per event)
  sequence            number of the event among the instrument's events
  happened_at         when
  event               accepted, rejected, trade or cancelled
  role                in a trade: taker when the order came in, maker when it was resting
  price               of the trade; else the order's limit, null for a market order
  quantity            base asset: ordered, traded, or removed by the cancel
  trade_id            the trade's public name
  counterparty        in a trade: the client on the other side
  fee                 in a trade: quote asset that this order's client paid; negative: a rebate
  filled_quantity     base asset filled after this event
  remaining_quantity  base asset still wanted after this event
  status              open, partially_filled, filled, cancelled or rejected after this event
  reason              why it was cancelled or rejected

Example
  SELECT happened_at, event, quantity, status FROM analytics.order_lifecycle('my-order-1');
$$;
