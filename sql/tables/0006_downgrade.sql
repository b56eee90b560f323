-- Take back 0006: nothing is in engine snapshots that is not in orders and the event log.
DROP FUNCTION exchange.thin_snapshots_v1, exchange.discard_snapshots_v1,
    exchange.load_snapshot_part_v1, exchange.list_engine_snapshots_v1, exchange.take_snapshot_v1,
    exchange.engine_parts_v1, exchange.changed_orders_v1, exchange.load_orders_v1;
DROP TABLE exchange.engine_snapshot_parts, exchange.engine_snapshots;
