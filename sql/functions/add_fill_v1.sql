-- One step of position_fold: a position after one more fill, by the average-cost method.
-- Arguments: the position so far, null before the first step; where to start (null: flat), looked at
-- in the first step only; the fill's signed quantity (bought +, sold -); its price.
-- Result: the position after it. A fill in the position's direction adds quantity * price to the
-- cost. A fill against it first closes c = min(|quantity|, |net|): that part's cost,
-- total_cost * c / |net| rounded towards zero to 16 decimals (all of it when nothing stays open),
-- leaves total_cost, and what the closed part brought less that cost is realized. What is left of
-- the fill opens at its price. Always, and exactly:
-- total_cost - realized_pnl = the sum of quantity * price over all fills.
CREATE FUNCTION exchange.add_fill(
    p_state exchange.position_state, p_start exchange.position_state,
    p_quantity numeric, p_price numeric
) RETURNS exchange.position_state
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    v_net numeric := p_state.net_quantity;
    v_cost numeric := p_state.total_cost;
    v_realized numeric := p_state.realized_pnl;
    v_removed numeric;
BEGIN
    IF v_net IS NULL THEN
        v_net := coalesce(p_start.net_quantity, 0);
        v_cost := coalesce(p_start.total_cost, 0);
        v_realized := coalesce(p_start.realized_pnl, 0);
    END IF;
    IF v_net * p_quantity >= 0 THEN
        RETURN (v_net + p_quantity, v_cost + p_quantity * p_price, v_realized);
    ELSIF abs(p_quantity) < abs(v_net) THEN
        -- div() is the exact whole quotient: "/" would round at a place that depends on its inputs.
        v_removed := div(v_cost * abs(p_quantity) * 10000000000000000, abs(v_net))
            * 0.0000000000000001;
        RETURN (v_net + p_quantity, v_cost - v_removed,
                v_realized - p_quantity * p_price - v_removed);
    ELSE
        RETURN (v_net + p_quantity, (v_net + p_quantity) * p_price,
                v_realized + v_net * p_price - v_cost);
    END IF;
END
$$;
