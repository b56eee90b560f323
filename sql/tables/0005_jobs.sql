-- What background jobs are due, and what became of each run. Messages that tell workers of it are
-- hints: they may be lost, doubled or late.

CREATE TABLE exchange.job_due (
    job text NOT NULL CHECK (job ~ '^[a-z][a-z0-9_-]{0,31}$'),
    subject text NOT NULL CHECK (length(subject) <= 64),
    every_ms integer CHECK (every_ms > 0),
    daily_at time,
    due_at timestamptz NOT NULL,
    hinted_until timestamptz NOT NULL DEFAULT '-infinity',
    failures integer NOT NULL DEFAULT 0,
    PRIMARY KEY (job, subject),
    CHECK (num_nonnulls(every_ms, daily_at) = 1)
) WITH (fillfactor = 50);
COMMENT ON TABLE exchange.job_due IS
    'One row per job and subject (an instrument, or empty): how often it runs, so many milliseconds '
    'apart or daily (UTC), and when it is due next. A clock that has sent a hint does not send '
    'another until hinted_until. failures counts those since the last success.';

CREATE TABLE exchange.job_runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    subject text NOT NULL,
    owner text NOT NULL,
    started_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    finished_at timestamptz,
    outcome text NOT NULL DEFAULT 'running'
        CHECK (outcome IN ('running', 'done', 'failed', 'stopped', 'lost')),
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    detail text NOT NULL DEFAULT '',
    CHECK ((outcome = 'running') = (finished_at IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX job_runs_subject ON exchange.job_runs (job, subject, run_id DESC);
-- The database itself lets nobody run a job twice at a time.
CREATE UNIQUE INDEX job_runs_running ON exchange.job_runs (job, subject)
    WHERE outcome = 'running';
COMMENT ON TABLE exchange.job_runs IS
    'The last runs of each job and subject, with how far each is. Whoever runs one renews its lease; '
    'once that has run out the run is lost, and the job may be run again. detail is what it does '
    'while it runs, and after that its result or its error.';

ALTER TABLE exchange.dead_letters
    ADD COLUMN redriven_at timestamptz,
    ADD COLUMN redriven_by text CHECK (length(redriven_by) BETWEEN 1 AND 128),
    ADD CHECK ((redriven_at IS NULL) = (redriven_by IS NULL));
COMMENT ON TABLE exchange.dead_letters IS
    'Stream entries that could not be applied, kept whole. They changed nothing else. redriven says '
    'that somebody has sent what an entry asked for into the stream again, and when.';
