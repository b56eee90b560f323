-- What was restored from a backup goes on from an earlier point: another timeline, whose sequences
-- are given a second time. A row per restore and instrument; none while there was no restore.
CREATE TABLE exchange.timelines (
    timeline bigint NOT NULL,
    instrument_id integer NOT NULL REFERENCES exchange.instruments,
    sequence bigint NOT NULL,
    trade_no bigint NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text NOT NULL,
    PRIMARY KEY (timeline, instrument_id)
);
COMMENT ON TABLE exchange.timelines IS
    'Restores from backups: the sequence and trade_no of each instrument after which the history of '
    'that timeline is another than what readers may have seen before. The timeline is the time of the '
    'restore in seconds since 1970, so that two restores of one backup differ; before any it is 1.';
