DROP FUNCTION exchange.take_snapshot_v2, exchange.open_book_v1, exchange.give_way_v1,
    exchange.load_levels_v1, exchange.load_orders_v2;
ALTER TABLE exchange.engine_snapshot_parts
    ALTER CONSTRAINT engine_snapshot_parts_instrument_id_sequence_fkey NOT DEFERRABLE;
