"""Send a file of orders to the exchange over HTTP, and say what came of it.

Many connections take the lines in file order. Lines about one order never overtake each other: a
cancel is held until its order is answered. Between different orders the exchange sees an order of
arrival that is close to the file's, and equal to it with `--connections 1`.

What may be sent again: everything the exchange certainly did not apply (connection refused, 429,
503), and after an unknown outcome (connection lost, timeout, 502, 504) every line that the exchange
would recognize, which is a cancel or an order with an order_id or an idempotency_key. Any other
order is counted as unknown and left alone.

`python -m ops market --replay` plays a file at its own pace, in its exact order, among everybody
else's orders: that one is for watching, this one for sending everything once.

A run that stops early names the `--skip` to resume with: the largest N such that the first N lines
of the file are done. Lines after it may have been answered too; sending those again is safe under
the same condition.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple
from urllib.parse import quote

import aiohttp
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from yarl import URL

from ops.errors import OpsError
from ops.orders_file import (
    LOBSTER_CLIENTS_DEFAULT,
    Line,
    Unsent,
    count_lines,
    read_orders,
)
from workers.core.instruments import DEFAULT_INSTRUMENT

URL_DEFAULT: Final = "http://127.0.0.1:3000"
CONNECTIONS_DEFAULT: Final = 64
PATIENCE_DEFAULT_S: Final = 30.0

# Longer than the exchange itself waits for a result, so that its own answer comes first.
ATTEMPT_TIMEOUT_S: Final = 15.0
CONNECT_TIMEOUT_S: Final = 5.0
# The first retry is quick, because most are; a second apart is often enough for the rest.
BACKOFF_FIRST_S: Final = 0.05
BACKOFF_MAX_S: Final = 1.0
# How long a run that stops waits for the answers under way.
GRACE_S: Final = 5.0
# Acks are given to the operating system at least this often.
ACKS_PER_FLUSH: Final = 100
# A terminal is redrawn ten times a second; a log gets a line every five seconds.
REDRAW_S: Final = 0.1
LOG_S: Final = 5.0
# The first complaints are shown, the rest only counted.
COMPLAINTS_MAX: Final = 10
BOOKS_MAX: Final = 20

ORDER_STATUSES: Final = ("open", "partially_filled", "filled", "cancelled", "rejected")
CANCEL_OUTCOMES: Final = {200: "cancelled", 404: "unknown order", 409: "already finished"}


class NotApplied(Exception):
    """Raised when a command certainly changed nothing; `after_s` is the server's Retry-After."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class UnknownOutcome(Exception):
    """Raised when a command may or may not have been applied."""


class Answer(NamedTuple):
    """A final answer: its HTTP status and the body, as bytes and as JSON ({} if it is none)."""

    status: int
    body: bytes
    fields: dict[str, Any]


@dataclass
class Tally:
    """What happened so far."""

    lines_done: int = 0
    trades: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    cancels: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    unsent: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    # Of answered commands only, from sending to answer, in microseconds.
    latencies_us: array[int] = field(default_factory=lambda: array("L"))
    elapsed_s: float = 0.0

    def complain(self, number: int, reason: str) -> None:
        """Keep one of the first complaints about a line."""
        if len(self.complaints) < COMPLAINTS_MAX:
            self.complaints.append(f"line {number}: {reason}")


class Acks:
    """A file with one JSON line for every acknowledged order and cancel, as it was answered.

    The bytes are the answer's own, so numbers are exact; only a closing `orderbook`, which no check
    of durability needs and which is most of an answer, is left out.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unflushed = 0

    def write(self, answer: Answer) -> None:
        """Append one answer."""
        # JSON text has a raw line end only between its tokens.
        self._file.write(_without_orderbook(answer).replace(b"\n", b" ") + b"\n")
        self._unflushed += 1
        if self._unflushed >= ACKS_PER_FLUSH:
            self._file.flush()
            self._unflushed = 0


def _without_orderbook(answer: Answer) -> bytes:
    # A quote inside a JSON string is escaped, so this can only be the key itself.
    kept, separator, _ = answer.body.partition(b',"orderbook":')
    if separator and next(reversed(answer.fields)) == "orderbook":
        return kept + b"}"
    return answer.body


class Replay:
    """One run over the lines of a file.

    After `run`, `stopped` is None when every line is done, or else says why not, and `done_through`
    is the number of the last line before which none is left.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        lines: Iterator[Line | Unsent],
        *,
        url: str = URL_DEFAULT,
        connections: int = CONNECTIONS_DEFAULT,
        patience_s: float = PATIENCE_DEFAULT_S,
        strict: bool = False,
        skipped: int = 0,
        acks: Acks | None = None,
    ) -> None:
        self.tally = Tally()
        self.instruments: dict[str, None] = {}
        self.stopped: str | None = None
        # The last line done that must not be sent again.
        self.unrepeatable_through = 0
        self._session = session
        self._lines = lines
        self._orders_url = f"{url}/orders"
        self._connections = connections
        self._patience_s = patience_s
        self._strict = strict
        self._acks = acks
        self._last_read = skipped
        # The numbers of lines taken and not done, ascending, because lines are taken in order.
        self._pending: dict[int, None] = {}
        # The last line taken about an order, while it is not answered.
        self._by_order: dict[str, asyncio.Future[None]] = {}
        self._stopping = asyncio.Event()
        self._grace = asyncio.timeout(None)

    @property
    def done_through(self) -> int:
        """Return the largest N such that the first N lines of the file are done."""
        return next(iter(self._pending), self._last_read + 1) - 1

    async def run(self) -> None:
        """Send every line, or as many as come before a stop."""
        started = time.perf_counter()
        try:
            async with self._grace, asyncio.TaskGroup() as workers:
                for _ in range(self._connections):
                    workers.create_task(self._work())
        except TimeoutError:
            pass  # The grace is over; what was under way stays pending.
        self.tally.elapsed_s = time.perf_counter() - started

    def stop(self, reason: str) -> None:
        """Take no more lines; wait a little for the answers under way."""
        if self.stopped is None:
            self.stopped = reason
            self._stopping.set()
            self._grace.reschedule(asyncio.get_running_loop().time() + GRACE_S)

    def interrupt(self) -> None:
        """Stop; the second time, at once."""
        if self.stopped is None:
            self.stop("interrupted")
        else:
            self._grace.reschedule(asyncio.get_running_loop().time())

    async def _work(self) -> None:
        """Take the next line of the file and see it through, until there are no more."""
        while self.stopped is None:
            line = next(self._lines, None)
            if line is None:
                return
            if isinstance(line, Unsent):
                self._pass_over(line)
                await asyncio.sleep(0)  # A file of such lines must not keep signals waiting.
                continue
            self._last_read = line.number
            self._pending[line.number] = None
            self.instruments[line.instrument] = None
            async with self._in_order(line.order_id):
                await self._deliver(line)

    def _pass_over(self, line: Unsent) -> None:
        self.tally.unsent["malformed" if line.malformed else line.reason] += 1
        if line.malformed:
            self.tally.complain(line.number, line.reason)
            if self._strict:
                self.stop(f"line {line.number}: {line.reason}")
                return
        self._last_read = line.number
        self.tally.lines_done += 1

    @asynccontextmanager
    async def _in_order(self, order_id: str | None) -> AsyncIterator[None]:
        """Wait for the line taken before this one about the same order, and hold up the next."""
        if order_id is None:
            yield
            return
        before = self._by_order.get(order_id)
        mine = self._by_order[order_id] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                await asyncio.shield(before)
            yield
        finally:
            mine.set_result(None)
            if self._by_order.get(order_id) is mine:
                del self._by_order[order_id]

    async def _deliver(self, line: Line) -> None:
        """Send a line until it is done, the patience is over, or the run stops."""
        gives_up_at: float | None = None
        delay_s = BACKOFF_FIRST_S
        ambiguous = False
        while self.stopped is None:
            after_s = 0.0
            try:
                answer = await self._attempt(line)
            except NotApplied as error:
                reason, after_s = str(error), error.after_s
            except UnknownOutcome as error:
                if not line.repeatable:
                    self._leave_unknown(line, str(error))
                    return
                reason, ambiguous = str(error), True
            except asyncio.CancelledError:
                if not line.repeatable:
                    self._leave_unknown(line, "interrupted")
                raise
            else:
                self._record(line, answer, ambiguous)
                self._done(line)
                return
            self.tally.notes["sent again"] += 1
            now = time.monotonic()
            gives_up_at = gives_up_at or now + self._patience_s
            if now >= gives_up_at:
                self.stop(f"line {line.number}: {reason}, for {self._patience_s:g} s")
                return
            await self._pause(min(max(delay_s, after_s), gives_up_at - now))
            delay_s = min(delay_s * 2, BACKOFF_MAX_S)

    async def _pause(self, delay_s: float) -> None:
        """Wait, but no longer than the run goes on."""
        try:
            await asyncio.wait_for(self._stopping.wait(), delay_s)
        except TimeoutError:
            pass

    async def _attempt(self, line: Line) -> Answer:
        """Send a line once. Raises NotApplied or UnknownOutcome when that gave no final answer."""
        started = time.perf_counter()
        try:
            async with self._session.post(
                self._target(line),
                data=line.body,
                headers=None if line.body is None else {"Content-Type": "application/json"},
                allow_redirects=False,  # A redirected POST would become a GET.
            ) as response:
                body = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotApplied(f"cannot connect ({error})") from error
        except TimeoutError as error:
            raise UnknownOutcome(f"no answer within {ATTEMPT_TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnknownOutcome(f"connection lost ({error})") from error
        self.tally.statuses[response.status] += 1
        if response.status in (429, 503):
            after_s = _seconds(response.headers.get("Retry-After", ""))
            raise NotApplied(f"answered {response.status}", after_s)
        if response.status in (502, 504):
            raise UnknownOutcome(f"answered {response.status}")
        self.tally.latencies_us.append(int((time.perf_counter() - started) * 1e6))
        return Answer(response.status, body, _json_object(body))

    def _target(self, line: Line) -> URL:
        if line.body is not None:
            return URL(self._orders_url)
        order_id, instrument = quote(line.order_id or "", safe=""), quote(line.instrument, safe="")
        cancel = f"{self._orders_url}/{order_id}/cancel?instrument={instrument}"
        return URL(cancel, encoded=True)

    def _record(self, line: Line, answer: Answer, ambiguous: bool) -> None:
        """Count a final answer, and write it down if it is an ack."""
        if ambiguous:
            self.tally.notes["unknown resolved"] += 1
        if answer.status in (200, 201) and self._acks:
            self._acks.write(answer)
        if line.body is None and answer.status in CANCEL_OUTCOMES:
            self.tally.cancels[CANCEL_OUTCOMES[answer.status]] += 1
        elif line.body is not None and answer.status in (200, 201, 409):
            self._record_order(answer, ambiguous)
        else:
            message = answer.fields.get("message") or answer.body[:200].decode(errors="replace")
            self.tally.complain(line.number, f"answered {answer.status}: {message}")

    def _record_order(self, answer: Answer, ambiguous: bool) -> None:
        tally = self.tally
        if answer.status in (200, 409) and not ambiguous:
            tally.notes["repeated"] += 1
        if order := answer.fields.get("order"):
            tally.orders[order["status"]] += 1
        # The trades of a repeat were counted with its first answer, unless that one was lost.
        if answer.status == 201 or ambiguous:
            tally.trades += len(answer.fields.get("trades", ()))

    def _leave_unknown(self, line: Line, reason: str) -> None:
        self.tally.notes["unknown, and nothing to recognize a repeat by"] += 1
        self.tally.complain(line.number, f"unknown outcome: {reason}")
        self._done(line)

    def _done(self, line: Line) -> None:
        del self._pending[line.number]
        self.tally.lines_done += 1
        if not line.repeatable:
            self.unrepeatable_through = max(self.unrepeatable_through, line.number)


def _seconds(retry_after: str) -> float:
    """Return a Retry-After in seconds; for its other form, a date, the backoff must do."""
    return float(retry_after) if retry_after.isdecimal() else 0.0


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def open_session(connections: int) -> aiohttp.ClientSession:
    """Return a client with that many keep-alive connections and nothing it does not need."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=300),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        timeout=aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
    )


# What is shown while it runs.


async def show_progress(tally: Tally, total: int | None, console: Console) -> None:
    """Show the progress until cancelled: a bar on a terminal, else a line now and then."""
    show = _show_bar if console.is_terminal else _show_lines
    await show(tally, total, console)


async def _show_lines(tally: Tally, total: int | None, console: Console) -> None:
    started = time.perf_counter()
    while True:
        await asyncio.sleep(LOG_S)
        rate = tally.lines_done / (time.perf_counter() - started)
        text = f"{tally.lines_done}/{total or '?'} lines, {rate:,.0f}/s"
        if total and rate:
            text += f", {(total - tally.lines_done) / rate:,.0f} s left"
        console.print(text, highlight=False)


async def _show_bar(tally: Tally, total: int | None, console: Console) -> None:
    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>9,.0f}/s"),
        TimeRemainingColumn(),
    )
    started = time.perf_counter()
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task("", total=total, rate=0.0)
        try:
            while True:
                await asyncio.sleep(REDRAW_S)
                rate = tally.lines_done / (time.perf_counter() - started)
                progress.update(task, completed=tally.lines_done, rate=rate, refresh=True)
        finally:
            progress.update(task, completed=tally.lines_done, refresh=True)


# What is shown at the end.


def summary(tally: Tally) -> Table:
    """Return the counts and times of a run as a table."""
    table = Table("what", "how many", title="replay")
    table.columns[1].justify = "right"
    answered = len(tally.latencies_us)
    table.add_row("lines done", f"{tally.lines_done:,}")
    table.add_row("seconds", f"{tally.elapsed_s:,.2f}")
    table.add_row("orders and cancels per second", f"{answered / (tally.elapsed_s or 1):,.0f}")
    for name, value_us in _percentiles(tally.latencies_us):
        table.add_row(f"latency {name}", f"{value_us / 1000:,.2f} ms")
    table.add_section()
    for http_status, count in sorted(tally.statuses.items()):
        table.add_row(f"HTTP {http_status}", f"{count:,}")
    table.add_section()
    for status in dict.fromkeys((*ORDER_STATUSES, *tally.orders)):
        table.add_row(f"orders {status}", f"{tally.orders[status]:,}")
    table.add_row("trades", f"{tally.trades:,}")
    for outcome in CANCEL_OUTCOMES.values():
        table.add_row(f"cancels: {outcome}", f"{tally.cancels[outcome]:,}")
    table.add_section()
    for note, count in sorted(tally.notes.items()):
        table.add_row(note, f"{count:,}")
    for reason, count in sorted(tally.unsent.items()):
        table.add_row(f"not sent: {reason}", f"{count:,}")
    return table


def _percentiles(latencies_us: array[int]) -> list[tuple[str, int]]:
    """Return the nearest-rank median and 99th percentile, and the maximum."""
    ordered = sorted(latencies_us)
    if not ordered:
        return []
    ranks = {"p50": len(ordered) * 50, "p99": len(ordered) * 99, "max": len(ordered) * 100}
    return [(name, ordered[-(-rank // 100) - 1]) for name, rank in ranks.items()]


async def order_book_table(session: aiohttp.ClientSession, url: str, instrument: str) -> Table:
    """Return the best five levels of both sides; on any trouble an empty table that says so."""
    table = Table("bid quantity", "bid", "ask", "ask quantity", title=instrument)
    try:
        params = {"instrument": instrument, "levels": "5"}
        async with session.get(f"{url}/market/orderbook", params=params) as response:
            fields = _json_object(await response.read())
        bids, asks = fields["bids"], fields["asks"]
    except (aiohttp.ClientError, OSError, KeyError):
        table.caption = "not available"
        return table
    for row in range(max(len(bids), len(asks))):
        bid, ask = (side[row] if row < len(side) else {} for side in (bids, asks))
        cells = bid.get("quantity"), bid.get("price"), ask.get("price"), ask.get("quantity")
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    return table


def resume_advice(replay: Replay, skip: int, limit: int | None) -> str:
    """Return the last words of a run that stopped early."""
    done = replay.done_through
    resume = f"--skip {done}" if limit is None else f"--skip {done} --limit {skip + limit - done}"
    advice = (
        f"Stopped: {replay.stopped}\n"
        f"{replay.tally.lines_done} lines are done, and everything through line {done}."
        f" Resume with {resume}"
    )
    if replay.unrepeatable_through > done:
        advice += (
            f"\nBeware: up to line {replay.unrepeatable_through} there are orders without order_id"
            " and idempotency_key that are done; resuming places them again."
        )
    return advice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="what to send; - is stdin")
    parser.add_argument("--url", default=os.environ.get("EXCHANGE_URL", URL_DEFAULT))
    parser.add_argument("--connections", type=int, default=CONNECTIONS_DEFAULT)
    parser.add_argument("--skip", type=int, default=0, help="leave out the first N lines")
    parser.add_argument("--limit", type=int, help="end after N lines")
    parser.add_argument("--format", choices=("jsonl", "lobster"), help="default: look at the file")
    parser.add_argument("--instrument", default=DEFAULT_INSTRUMENT, help="of a LOBSTER file")
    parser.add_argument(
        "--clients", type=int, default=LOBSTER_CLIENTS_DEFAULT, help="in a LOBSTER file"
    )
    parser.add_argument("--strict", action="store_true", help="stop at a malformed line")
    parser.add_argument("--acks", type=Path, metavar="FILE", help="append every ack as a JSON line")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_DEFAULT_S,
        metavar="SECONDS",
        help="how long to try one line again before giving up",
    )


def main(args: argparse.Namespace) -> int:
    """Send the file. Returns 0 when every line is done, else 1."""
    _check(args)
    try:
        total = count_lines(args.file)
        with args.acks.open("ab") if args.acks else nullcontext() as acks:
            return asyncio.run(_run(args, total, acks and Acks(acks)))
    except OSError as error:
        raise OpsError(f"{error.filename}: {error.strerror}") from error


def _check(args: argparse.Namespace) -> None:
    args.url = args.url.rstrip("/")
    url = URL(args.url)
    if url.scheme not in ("http", "https") or not url.host:
        raise OpsError(f"--url: {args.url} is not an http:// or https:// address")
    if args.connections < 1 or args.clients < 1:
        raise OpsError("--connections and --clients must be 1 or more")
    if args.skip < 0 or (args.limit is not None and args.limit < 0) or args.patience < 0:
        raise OpsError("--skip, --limit and --patience must be 0 or more")


async def _run(args: argparse.Namespace, total: int | None, acks: Acks | None) -> int:
    lines = read_orders(
        args.file,
        format=args.format,
        skip=args.skip,
        limit=args.limit,
        instrument=args.instrument,
        clients=args.clients,
    )
    with closing(lines):
        async with open_session(args.connections) as session:
            replay = Replay(
                session,
                lines,
                url=args.url,
                connections=args.connections,
                patience_s=args.patience,
                strict=args.strict,
                skipped=args.skip,
                acks=acks,
            )
            await _run_shown(replay, _lines_to_do(total, args.skip, args.limit))
            await _report(replay, session, args)
    return 0 if replay.stopped is None else 1


def _lines_to_do(total: int | None, skip: int, limit: int | None) -> int | None:
    if total is None:
        return limit
    left = max(0, total - skip)
    return left if limit is None else min(left, limit)


async def _run_shown(replay: Replay, total: int | None) -> None:
    """Run with the progress on stderr; SIGINT and SIGTERM stop the run and not the report."""
    showing = asyncio.create_task(show_progress(replay.tally, total, Console(stderr=True)))
    try:
        with _signals_to(replay.interrupt):
            await replay.run()
    finally:
        showing.cancel()
        await asyncio.wait({showing})


@contextmanager
def _signals_to(interrupt: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handled = []
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
            handled.append(number)
    except NotImplementedError:
        pass  # Windows, where Ctrl-C ends the run without a report.
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _report(replay: Replay, session: aiohttp.ClientSession, args: argparse.Namespace) -> None:
    console = Console()
    console.print(summary(replay.tally))
    for complaint in replay.tally.complaints:
        console.print(complaint, markup=False, highlight=False)
    if replay.stopped is not None:
        console.print(resume_advice(replay, args.skip, args.limit), markup=False, highlight=False)
        return
    for instrument in list(replay.instruments)[:BOOKS_MAX]:
        console.print(await order_book_table(session, args.url, instrument))
