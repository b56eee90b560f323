"""Write a file of orders that looks like a market: the same arguments, the same bytes.

Each instrument has a fair price that walks at random. Limit orders are placed at a distance from it
that halves in frequency when it doubles, mostly on their own side so that they rest; quantities
spread over a dozen doublings around one value; a few clients are very active and most are not;
cancels aim at earlier limit orders, of which some are finished by then.

Only integers are drawn and written, so no rounding, no hash order and no maths library can make two
machines differ.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import BinaryIO, Final

import orjson

from ops.errors import OpsError
from workers.core.codec import IDENTIFIER
from workers.core.units import format_units

# Units of 1e-8 in a tick of 0.01 and in a quantity step of 0.0001.
_TICK_UNITS: Final = 10**6
_STEP_UNITS: Final = 10**4

# Where the walk starts, in ticks of 0.01; another instrument starts at 100.
_START_TICKS: Final = {"BTC-USD": 70_000_00, "ETH-USD": 3_500_00, "SOL-USD": 150_00}
_START_TICKS_DEFAULT: Final = 100_00

# The middle limit order is worth about 2,000.00; this is the middle of what `_draw_quantity` draws.
_VALUE_TICKS: Final = 2_000_00
_DRAW_MIDDLE: Final = 96
# A distance is one of these many doublings: the farthest order lies 2,048 steps away.
_DISTANCE_DOUBLINGS: Final = 11
# One limit order in so many is priced to cross.
_CROSSING_EVERY: Final = 12
# One order in so many also carries an idempotency_key.
_KEY_EVERY: Final = 4
# Cancels aim at this many recent limit orders, which bounds the memory for any number of orders.
_CANCELLABLE_MAX: Final = 512


@dataclass
class Instrument:
    """The walk of one instrument. `distance_ticks` is the smallest distance, 0.5 basis points."""

    instrument: str
    fair_ticks: int
    distance_ticks: int
    steps_per_draw: int
    cancellable: list[str] = field(default_factory=list)

    @classmethod
    def named(cls, instrument: str) -> "Instrument":
        """Return an instrument at its start."""
        start = _START_TICKS.get(instrument, _START_TICKS_DEFAULT)
        steps_per_draw = _VALUE_TICKS * 10_000 // (start * _DRAW_MIDDLE)
        return cls(instrument, start, max(1, start // 20_000), max(1, steps_per_draw))


@dataclass(frozen=True)
class Mix:
    """What is generated. `cancel_share` is the number of cancels per order, added to the orders."""

    orders: int = 50_000
    seed: int = 7
    instruments: tuple[str, ...] = ("BTC-USD", "ETH-USD", "SOL-USD")
    clients: int = 500
    market_share: float = 0.3
    cancel_share: float = 0.1


def generate(mix: Mix) -> Iterator[tuple[str, bytes]]:
    """Yield the lines, each with what it is: `limit`, `market` or `cancel`."""
    random = Random(mix.seed)
    instruments = [Instrument.named(name) for name in mix.instruments]
    for index in range(1, mix.orders + 1):
        instrument = random.choice(instruments)
        _walk(random, instrument)
        kind = "market" if random.random() < mix.market_share else "limit"
        yield kind, _order_line(random, mix, instrument, index, kind)
        cancels_from = random.choice(instruments)
        if random.random() < mix.cancel_share and cancels_from.cancellable:
            yield "cancel", _cancel_line(random, cancels_from)


def _walk(random: Random, instrument: Instrument) -> None:
    """Move the fair price by up to 2 smallest distances."""
    step = random.getrandbits(4).bit_count() - 2
    floor = instrument.distance_ticks << (_DISTANCE_DOUBLINGS + 1)
    instrument.fair_ticks = max(floor, instrument.fair_ticks + step * instrument.distance_ticks)


def _order_line(random: Random, mix: Mix, instrument: Instrument, index: int, kind: str) -> bytes:
    side = random.choice(("buy", "sell"))
    order_id = f"g{mix.seed}-{index}"
    order = {
        "client_id": f"client-{_draw_client(random, mix.clients)}",
        "order_id": order_id,
        "instrument": instrument.instrument,
        "side": side,
        "type": kind,
        "quantity": _number(_draw_quantity(random, instrument, kind) * _STEP_UNITS),
    }
    if kind == "limit":
        order["price"] = _number(_draw_price_ticks(random, instrument, side) * _TICK_UNITS)
        _remember(random, instrument, order_id)
    if not random.randrange(_KEY_EVERY):
        order["idempotency_key"] = f"k{mix.seed}-{index}"
    return orjson.dumps(order)


def _cancel_line(random: Random, instrument: Instrument) -> bytes:
    orders = instrument.cancellable
    place = random.randrange(len(orders))
    orders[place], orders[-1] = orders[-1], orders[place]
    return orjson.dumps({"cancel": orders.pop(), "instrument": instrument.instrument})


def _remember(random: Random, instrument: Instrument, order_id: str) -> None:
    orders = instrument.cancellable
    if len(orders) < _CANCELLABLE_MAX:
        orders.append(order_id)
    else:
        orders[random.randrange(_CANCELLABLE_MAX)] = order_id


def _draw_price_ticks(random: Random, instrument: Instrument, side: str) -> int:
    # The number of a random number's trailing zeros is geometric; 0 is capped at the last one.
    bits = random.getrandbits(_DISTANCE_DOUBLINGS) or 1 << (_DISTANCE_DOUBLINGS - 1)
    scale = bits & -bits
    distance = instrument.distance_ticks * scale + random.randrange(
        instrument.distance_ticks * scale
    )
    away = -1 if side == "buy" else 1
    if not random.randrange(_CROSSING_EVERY):
        away = -away
    return instrument.fair_ticks + away * distance


def _draw_quantity(random: Random, instrument: Instrument, kind: str) -> int:
    """Return steps of 0.0001: a binomial number of doublings, the integers' log-normal.

    Market orders have half the quantity of limit orders, so that the book does not run dry.
    """
    scale = 1 << random.getrandbits(12 if kind == "limit" else 10).bit_count()
    return (scale + random.randrange(scale)) * instrument.steps_per_draw


def _draw_client(random: Random, clients: int) -> int:
    """Return 1 to `clients`, each about in inverse proportion to its number (Zipf's law)."""
    while True:
        scale = 1 << random.randrange(clients.bit_length())
        client = scale + random.randrange(scale)
        if client <= clients:
            return client


def _number(units: int) -> orjson.Fragment:
    return orjson.Fragment(format_units(units))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="where to write; - is stdout")
    parser.add_argument("--orders", type=int, default=Mix.orders, help="cancels come on top")
    parser.add_argument("--seed", type=int, default=Mix.seed)
    parser.add_argument("--instruments", default=",".join(Mix.instruments), metavar="A,B")
    parser.add_argument("--clients", type=int, default=Mix.clients)
    parser.add_argument("--market-share", type=float, default=Mix.market_share, metavar="0..1")
    parser.add_argument("--cancel-share", type=float, default=Mix.cancel_share, metavar="0..1")


def main(args: argparse.Namespace) -> int:
    """Write the file and say on stderr what is in it."""
    mix = _mix(args)
    if args.file == Path("-"):
        counts = _write(mix, sys.stdout.buffer)
    else:
        try:
            with args.file.open("wb") as file:
                counts = _write(mix, file)
        except OSError as error:
            raise OpsError(f"cannot write {args.file}: {error.strerror}") from error
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("limit", "market", "cancel"))
    print(
        f"{counts.total()} lines ({kinds}) of {len(mix.instruments)} instruments"
        f" and up to {mix.clients} clients, seed {mix.seed}",
        file=sys.stderr,
    )
    return 0


def _mix(args: argparse.Namespace) -> Mix:
    instruments = tuple(name.strip() for name in args.instruments.split(",") if name.strip())
    if not instruments or not all(IDENTIFIER.fullmatch(name) for name in instruments):
        raise OpsError("--instruments: name one or more, as in BTC-USD,ETH-USD")
    if args.orders < 0 or args.clients < 1:
        raise OpsError("--orders must be 0 or more and --clients 1 or more")
    if not (0 <= args.market_share <= 1 and 0 <= args.cancel_share <= 1):
        raise OpsError("--market-share and --cancel-share must be from 0 to 1")
    return Mix(
        args.orders, args.seed, instruments, args.clients, args.market_share, args.cancel_share
    )


def _write(mix: Mix, file: BinaryIO) -> Counter[str]:
    counts: Counter[str] = Counter()
    for kind, line in generate(mix):
        file.write(line + b"\n")
        counts[kind] += 1
    file.flush()
    return counts
