-- Positions by the average-cost method: what the open quantity cost, and what closing has earned.

CREATE TYPE exchange.position_state AS (
    net_quantity numeric,
    total_cost numeric,
    realized_pnl numeric
);
COMMENT ON TYPE exchange.position_state IS
    'A position between two fills. total_cost has the sign of net_quantity and is 0 when that is.';
