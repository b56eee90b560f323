-- The parts of an engine snapshot are stored as they are read; how many there are is known, and its
-- row written, at the end.
ALTER TABLE exchange.engine_snapshot_parts
    ALTER CONSTRAINT engine_snapshot_parts_instrument_id_sequence_fkey
    DEFERRABLE INITIALLY DEFERRED;
