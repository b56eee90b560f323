"""Make a market that is alive, through the public API: makers, takers, bursts, cancels.

Everything goes through `/stream` and a few HTTP reads, as any client's orders would, so it may run
anywhere that reaches the exchange. The exchange asks for no deposit: clients may go short, and
their balances with them. The clients are called `<name>-maker-1`, `<name>-noise-1` and so on; two
markets on one exchange need two names: each cancels, at its end, whatever rests of its clients.

The same seed makes the same participants arrive at the same times. What they decide then depends on
what the market has told them by then: see ops/crowd/crowd.py.
"""

import argparse
import asyncio
import math
import re
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ops.client.connection import Api, check_url, default_url, first_answer, open_api
from ops.client.show import show
from ops.client.stopping import stop_on_signals
from ops.crowd.crowd import CLIENTS_DEFAULT, Crowd
from ops.crowd.show import MarketLine
from ops.crowd.terms import START, Terms
from ops.crowd.trader import Trader
from ops.errors import OpsError
from ops.recording.play import play
from workers.core.instruments import DEFAULT_INSTRUMENT
from workers.core.units import InexactNumber, parse_units

RATE_DEFAULT: Final = 100.0
RATE_MAX: Final = 20_000.0
SEED_DEFAULT: Final = 7
CLIENTS_MAX: Final = 2_000
NAME_DEFAULT: Final = "market"
# Client ids have 64 characters, order ids a few more words than that.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,24}")
# The first instrument is the busiest; the others follow at this pace.
_WEIGHT_STEP: Final = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--url", default=default_url(), help="the exchange (EXCHANGE_URL)")
    parser.add_argument(
        "--rate", type=float, default=RATE_DEFAULT, help="orders and cancels per second, in all"
    )
    parser.add_argument(
        "--instruments",
        metavar="A,B=PRICE",
        help=f"what to trade, and around which price (default: {', '.join(START)})",
    )
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    parser.add_argument("--seconds", type=float, help="end after so long (default: never)")
    parser.add_argument(
        "--clients", type=int, default=CLIENTS_DEFAULT, help="who trade, makers not counted"
    )
    parser.add_argument("--name", default=NAME_DEFAULT, help="what its client ids begin with")
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="play a recording instead: LOBSTER, CSV or JSONL",
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="of --replay: so many times as fast; 0: no pauses"
    )
    parser.add_argument(
        "--instrument",
        default=DEFAULT_INSTRUMENT,
        help="of --replay: what a LOBSTER file is about, or a line that does not say",
    )
    parser.add_argument("--keep", action="store_true", help="leave its orders in the book")


def main(args: argparse.Namespace) -> int:
    """Trade until SIGINT, SIGTERM or the end of `--seconds`."""
    _check(args)
    asyncio.run(_run(args))
    return 0


def _check(args: argparse.Namespace) -> None:
    args.url = check_url(args.url)
    if not 0 < args.rate <= RATE_MAX:
        raise OpsError(f"--rate must be above 0 and at most {RATE_MAX:g}")
    if not 1 <= args.clients <= CLIENTS_MAX:
        raise OpsError(f"--clients must be from 1 to {CLIENTS_MAX}")
    if args.seconds is not None and args.seconds <= 0:
        raise OpsError("--seconds must be above 0")
    if not 0 <= args.speed < math.inf:
        raise OpsError("--speed must be 0 or more")
    if not _NAME.fullmatch(args.name):
        raise OpsError("--name: 1 to 24 letters, digits, - and _")


async def _run(args: argparse.Namespace) -> None:
    console = Console()
    with stop_on_signals() as stop:
        if args.seconds is not None:
            asyncio.get_running_loop().call_later(args.seconds, stop.set)
        async with open_api(args.url) as api:
            if args.replay is not None:
                await play(
                    api,
                    args.replay,
                    console,
                    stop,
                    instrument=args.instrument,
                    clients=args.clients,
                    speed=args.speed,
                    keep=args.keep,
                )
                return
            terms = await first_answer(lambda: _terms(api, args.instruments), stop)
            if terms is None:
                return
            traders = [
                Trader(api, crowd, lambda text: console.print(text, highlight=False, markup=False))
                for crowd in _crowds(terms, args)
            ]
            await _trade(traders, console, stop, args)


async def _trade(
    traders: list[Trader], console: Console, stop: asyncio.Event, args: argparse.Namespace
) -> None:
    showing = asyncio.create_task(show(MarketLine(traders), console))
    try:
        async with asyncio.TaskGroup() as tasks:
            for trader in traders:
                tasks.create_task(trader.run(stop, args.keep))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        showing.cancel()
        await asyncio.wait({showing})
    answered = sum(trader.entry.answered for trader in traders)
    trades = sum(trader.feed.trades for trader in traders)
    left = "left in the book" if args.keep else "cancelled"
    console.print(
        f"{answered:,} orders and cancels answered, {trades:,} trades seen; what rested is {left}",
        highlight=False,
    )


def _crowds(terms: list[Terms], args: argparse.Namespace) -> list[Crowd]:
    weights = [1 / (1 + _WEIGHT_STEP * place) for place in range(len(terms))]
    # Order ids are used once in the whole exchange.
    run = f"{time.time_ns() // 1_000_000:x}"
    return [
        Crowd(
            each,
            seed=args.seed,
            rate=args.rate * weight / sum(weights),
            clients=args.clients,
            name=args.name,
            run=f"{run}-{place}",
        )
        for place, (each, weight) in enumerate(zip(terms, weights, strict=True))
    ]


async def _terms(api: Api, wanted: str | None) -> list[Terms]:
    listed = {row["instrument"]: row for row in (await api.get("/instruments"))["instruments"]}
    anchors = _wanted(wanted) if wanted else {name: None for name in START if name in listed}
    found = []
    for name, anchor in (anchors or dict.fromkeys(listed)).items():
        if name not in listed:
            raise OpsError(f"There is no instrument {name}: use {', '.join(listed)}")
        row: dict[str, Any] = listed[name]
        last = (await api.get("/market/ticker", instrument=name))["last_price"]
        found.append(
            Terms.of(
                name,
                parse_units(row["tick_size"]),
                parse_units(row["lot_size"]),
                None if last is None else parse_units(last),
                anchor,
            )
        )
    return found


def _wanted(text: str) -> dict[str, int | None]:
    """Read `BTC-USD,DOGE-USD=0.1`: instruments, each with its price or None. Raises OpsError."""
    found: dict[str, int | None] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, separator, price = part.partition("=")
        try:
            found[name] = parse_units(price) if separator else None
        except InexactNumber as error:
            raise OpsError(f"--instruments: the price of {name} {error}") from error
        if separator and (found[name] or 0) <= 0:
            raise OpsError(f"--instruments: the price of {name} must be above zero")
    if not found:
        raise OpsError("--instruments: name one or more, as in BTC-USD,ETH-USD")
    return found
