-- Positions get their cost and what closing has earned, from the trades that made them.

-- A batch that is being committed ends first, and none starts until this migration is done. An old
-- matcher that waits here finds columns that it does not know and may not leave empty.
LOCK TABLE exchange.shard IN EXCLUSIVE MODE;

ALTER TABLE exchange.positions
    ADD COLUMN total_cost numeric NOT NULL DEFAULT 0,
    ADD COLUMN realized_pnl numeric NOT NULL DEFAULT 0,
    ADD CONSTRAINT positions_flat_check CHECK (net_quantity <> 0 OR total_cost = 0);

UPDATE exchange.positions p
SET total_cost = (f.state).total_cost, realized_pnl = (f.state).realized_pnl
FROM (
    SELECT t.instrument_id, l.client_no,
           exchange.position_fold(NULL, l.quantity, t.price ORDER BY t.sequence, l.leg) AS state
    FROM exchange.trades t
    CROSS JOIN LATERAL (VALUES
        (1, CASE t.taker_side WHEN 'buy' THEN taker_client_no ELSE maker_client_no END, t.quantity),
        (2, CASE t.taker_side WHEN 'buy' THEN maker_client_no ELSE taker_client_no END, -t.quantity)
    ) AS l(leg, client_no, quantity)
    GROUP BY t.instrument_id, l.client_no
) f
WHERE p.instrument_id = f.instrument_id AND p.client_no = f.client_no;

ALTER TABLE exchange.positions
    ALTER COLUMN total_cost DROP DEFAULT,
    ALTER COLUMN realized_pnl DROP DEFAULT;

COMMENT ON TABLE exchange.positions IS
    'Signed quantity that a client has bought (+) and sold (-) in an instrument, what its open part '
    'cost (with the sign of the quantity) and what closing has earned, by the average-cost method.';

-- It would commit positions without their cost: an old matcher fails, without effect, until it is
-- replaced.
DROP FUNCTION exchange.commit_batch_v1;
