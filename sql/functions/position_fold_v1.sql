-- A position from its fills, in the order given by ORDER BY: see add_fill.
-- Arguments: where to start, the same for every row (null: flat); signed quantity; price.
-- Result: the position, null without fills.
CREATE AGGREGATE exchange.position_fold(
    p_start exchange.position_state, p_quantity numeric, p_price numeric
) (
    SFUNC = exchange.add_fill,
    STYPE = exchange.position_state,
    PARALLEL = SAFE
);
