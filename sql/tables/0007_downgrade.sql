-- The way back to 0006. Offsets are forgotten: a later mirror begins at the beginning.
DROP FUNCTION exchange.begin_mirror_v1, exchange.store_mirror_offset_v1, exchange.end_mirror_v1,
    exchange.read_mirror_events_v1, exchange.read_mirror_orders_v1, exchange.mirror_lags_v1,
    exchange.mirrored_totals_v1,
    exchange.forget_mirror_v1, exchange.retire_range_v2, exchange.restore_instrument_v1,
    exchange.restore_batch_v1,
    exchange.resume_mirror_v1;
DROP TABLE exchange.mirror_offsets;
