"""Every job there is."""

from workers.adapters.failpoints import Failpoints
from workers.adapters.jobs import Period, RetryPolicy
from workers.jobs import figures, mirror, partitions, reconcile, settlement, snapshots
from workers.jobs.job import Job
from workers.settings import Settings

JOBS_QUEUE = "jobs"
# The mirror goes on and on: it has workers of its own where it must not wait for anything.
MIRROR_QUEUE = "mirror"
QUEUES = (JOBS_QUEUE, MIRROR_QUEUE)

HOUR_MS = 3_600_000
# What is seen on a dashboard of half an hour.
FIGURES_MS = 60_000
# A Kafka that is down is asked again and again, so that nothing lags for long when it is back.
MIRROR_RETRIES = RetryPolicy(delay_ms=1_000, delay_max_ms=5_000)


def queue_of(job: str) -> str:
    """Return the queue of a job by its name, whatever the settings are."""
    return MIRROR_QUEUE if job == "mirror" else JOBS_QUEUE


def jobs(settings: Settings, failpoints: Failpoints | None = None) -> tuple[Job, ...]:
    """Return the jobs that these settings ask for. Adding one takes a row here."""
    table = [
        Job(
            "settlement", JOBS_QUEUE, Period(daily_at=settings.settle_at), settlement.run,
            time_limit_ms=6 * HOUR_MS,
        ),
        Job(
            "reconciliation", JOBS_QUEUE, Period(every_ms=settings.reconcile_ms), reconcile.run,
            time_limit_ms=4 * HOUR_MS,
        ),
        Job(
            "snapshot", JOBS_QUEUE, Period(every_ms=settings.snapshot_ms), snapshots.run,
            per_instrument=True,
        ),
        Job("partitions", JOBS_QUEUE, Period(every_ms=settings.partitions_ms), partitions.run),
        Job("figures", JOBS_QUEUE, Period(every_ms=FIGURES_MS), figures.run),
    ]  # fmt: skip
    if settings.kafka is not None:
        table.append(
            Job(
                "mirror", MIRROR_QUEUE, Period(every_ms=settings.mirror_ms),
                mirror.Mirror(settings.kafka, failpoints or Failpoints()).run,
                per_instrument=True, retries=MIRROR_RETRIES,
            )
        )  # fmt: skip
    return tuple(table)
