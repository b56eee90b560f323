"""List background jobs, run one now, and look after what could not be applied."""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from ops.database import add_actor_option, database_url, query
from ops.errors import OpsError
from ops.instance import Instance, add_data_option
from ops.redrive import redriven
from ops.tables import print_table
from workers.adapters.errors import AdapterError
from workers.adapters.streams import Append, StreamWriter

# For this long no clock sends a message for what we send one for.
HINT_MS = 5_000
POLL_S = 0.2
# A worker takes a message within a second or two.
PATIENCE_S = 10.0
LETTERS_MAX = 1_000
PAYLOAD_SHOWN = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list jobs with their last run and when they are due (default)")
    run = actions.add_parser("run", help="run a job now")
    run.add_argument("job", metavar="JOB")
    run.add_argument("subject", metavar="SUBJECT", nargs="?", help="an instrument; default: all")
    run.add_argument("--wait", action="store_true", help="follow it to its end; 1 when it fails")
    actions.add_parser("dead-letters", help="list stream entries and messages that were given up")
    redrive = actions.add_parser(
        "redrive", help="send a dead letter's request to its instrument once more, as a new one"
    )
    redrive.add_argument("id", metavar="INSTRUMENT/STREAM-ID", help="as dead-letters prints it")
    redrive.add_argument("--again", action="store_true", help="also one that was sent again before")
    add_actor_option(redrive)


def main(args: argparse.Namespace) -> int:
    """Do it."""
    match args.action:
        case "run":
            return _run(args)
        case "dead-letters":
            _list_dead(args)
        case "redrive":
            _redrive(args)
        case _:
            _list(database_url(args))
    return 0


class JobRow(NamedTuple):
    """A job and subject with its last run, as `list_jobs` tells it."""

    job: str
    subject: str
    every_ms: int | None
    daily_at: Any
    due_at: datetime
    failures: int
    run_id: int | None
    started_at: datetime | None
    seconds: Decimal | None
    outcome: str | None
    done: int | None
    total: int | None
    detail: str | None
    owner: str | None

    @property
    def name(self) -> str:
        return f"{self.job} {self.subject}".strip()


def _jobs(url: str) -> list[JobRow]:
    return [JobRow(*row) for row in query(url, "list_jobs")]


def _list(url: str) -> None:
    print_table(
        ("job", "subject", "last run", "took", "outcome", "progress", "next due", "detail"),
        [_cells(row) for row in _jobs(url)],
        "No jobs yet: the clock makes them when it starts (see the Procfile)",
    )


def _cells(row: JobRow) -> tuple[Any, ...]:
    now = datetime.now(UTC)
    due = "now" if row.due_at <= now else f"in {_span(row.due_at - now)}"
    ago = "" if row.started_at is None else f"{_span(now - row.started_at)} ago"
    detail = row.detail
    if row.failures:
        detail = f"{detail} (failures in a row: {row.failures})"
    return (
        row.job, row.subject, ago, "" if row.seconds is None else f"{row.seconds} s",
        row.outcome, _progress(row.done, row.total), "" if row.outcome == "running" else due,
        detail,
    )  # fmt: skip


def _span(span: timedelta) -> str:
    """Return a time span in the unit that suits it."""
    seconds = max(0.0, span.total_seconds())
    for unit, length in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < length:
            return f"{seconds:.0f} {unit}"
        seconds /= length if unit != "h" else 24
    return f"{seconds:.0f} days"


def _progress(done: int | None, total: int | None) -> str:
    if total is not None:
        return f"{done}/{total}"
    return str(done or "")


def _run(args: argparse.Namespace) -> int:
    url = database_url(args)
    values = {"job": args.job, "subject": args.subject, "hint_ms": HINT_MS}
    asked: dict[str, int] = dict(query(url, "make_due", values))
    try:
        _send(_redis_url(args), args.job, asked)
        print(f"{args.job} {' '.join(asked)}".strip() + " is due now")
    except AdapterError as error:
        print(
            f"{args.job} is due now; the clock tells the workers in {HINT_MS // 1000} s ({error})"
        )
    return _wait(url, args.job, asked) if args.wait else 0


def _send(redis_url: str, job: str, subjects: Iterable[str]) -> None:
    """Tell the workers. Raises AdapterError."""
    from workers.jobs.broker import Messages, make_broker
    from workers.jobs.table import queue_of

    broker = make_broker(redis_url)
    try:
        for subject in subjects:
            Messages(broker).send(queue_of(job), job, subject)
    finally:
        broker.client.close()


def _wait(url: str, job: str, asked: dict[str, int]) -> int:
    """Follow the runs that come after those in `asked`; return 1 when one fails."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    ended: dict[str, JobRow] = {}
    began_at = time.monotonic()
    bars: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
    )  # fmt: skip
    with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as progress:
        while len(ended) < len(asked):
            for row in _jobs(url):
                if row.job != job or (row.run_id or 0) <= asked.get(row.subject, row.run_id or 0):
                    continue
                if row.subject not in bars:
                    bars[row.subject] = progress.add_task(row.name, detail="")
                progress.update(
                    bars[row.subject], completed=row.done, total=row.total, detail=row.detail
                )
                if row.outcome in ("done", "failed"):
                    ended[row.subject] = row
            if not bars and time.monotonic() - began_at > PATIENCE_S:
                print("No worker has taken it yet: is a `jobs` process running?")
                began_at = float("inf")
            if len(ended) < len(asked):
                time.sleep(POLL_S)
    for row in ended.values():
        print(f"{row.name} {row.outcome} after {row.seconds} s: {row.detail}")
    return int(any(row.outcome == "failed" for row in ended.values()))


def _list_dead(args: argparse.Namespace) -> None:
    from workers.jobs.broker import Messages, make_broker
    from workers.jobs.table import QUEUES

    letters = query(database_url(args), "list_dead_letters", {"limit": LETTERS_MAX})
    print_table(
        ("dead letter", "since", "error", "sent again", "request"),
        [
            (
                f"{instrument}/{stream_id}", at, _printable(error.encode()),
                "" if again_at is None else f"{again_at:%Y-%m-%d %H:%M:%S}Z by {by}",
                _printable(bytes(payload)[:PAYLOAD_SHOWN]),
            )
            for instrument, stream_id, at, error, payload, again_at, by in letters
        ],
        "No stream entry was given up",
    )  # fmt: skip
    broker = make_broker(_redis_url(args))
    with contextlib.closing(broker.client):
        try:
            dead = [
                (message.actor_name, *message.args, datetime.fromtimestamp(at / 1000, UTC), queue)
                for queue in QUEUES
                for at, message in Messages(broker).dead(queue)
            ]
        except AdapterError as error:
            raise OpsError(str(error)) from error
    if dead:
        print("\nMessages to workers that were given up; the clock has sent others since:")
        print_table(("job", "subject", "since", "queue"), dead)


def _printable(what: bytes) -> str:
    """Return it without anything that a terminal would obey."""
    return what.decode("latin-1").encode("unicode_escape").decode()


def _redrive(args: argparse.Namespace) -> None:
    instrument, _, stream_id = args.id.partition("/")
    url, redis_url = database_url(args), _redis_url(args)
    rows = query(url, "list_dead_letters", {"limit": LETTERS_MAX})
    payloads = {f"{row[0]}/{row[1]}": bytes(row[4]) for row in rows}
    if args.id not in payloads:
        raise OpsError(f"There is no dead letter {args.id}: see `python -m ops jobs dead-letters`")
    request = redriven(payloads[args.id])
    values = {
        "instrument": instrument, "stream_id": stream_id, "actor": args.actor, "again": args.again,
    }  # fmt: skip
    # Written down first: should we die in between, nobody sends it twice without knowing.
    query(url, "redrive_dead_letter", values)
    try:
        asyncio.run(_append(redis_url, instrument, request))
    except AdapterError as error:
        raise OpsError(
            f"It may not have been sent: {error}. Repeat with --again: a second one with the same "
            "order_id has no effect"
        ) from error
    what = "cancel of order" if request.kind == "cancel" else "order"
    print(f"{args.id} is sent again: {what} {request.order_id}")


async def _append(redis_url: str, instrument: str, request: Append) -> None:
    """Append one request, however many wait. Raises AdapterError."""
    writer = StreamWriter(redis_url, waiting_max=10**9, key_ttl_ms=1_000)
    try:
        await writer.append(instrument, [request])
    finally:
        await writer.close()


def _redis_url(args: argparse.Namespace) -> str:
    return os.environ.get("REDIS_URL") or Instance(args.data).address_of("redis")
