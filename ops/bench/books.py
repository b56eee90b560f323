"""The engine beside order books written in Python that others have published, on the same commands.

    pip install -e '.[bench]'
    python -m ops.bench.books [--orders N] [--seconds S] [--rounds N]

All get the commands of the benchmark `engine`: half orders that rest, two fifths cancels, a tenth
orders that trade, on a deep book. What each trades must be what the engine trades: the same makers,
prices and quantities in the same order. Then all run in turn, in several rounds, and processor time
is taken: from the plain fields of an order, so with the object that a book wants to be given; and
from such objects, made before. Prices and quantities are integers, which all of them take.
(fastlob 0.0.24 is left out: it cancels orders that were filled, and then fails.)
"""

import argparse
import gc
import itertools
import logging
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.bench.limits import deep_book, mixed
from workers.core.engine import MatchingEngine
from workers.core.messages import CancelOrder, Command, Trade

# What one command traded: (order_id of the maker, price, quantity) of each trade.
Fills = list[tuple[Any, int, int]]
# Applies the command it was made of, and returns what the book said.
Step = Callable[[], Any]

# Commands looked at between two looks at the clock.
SLICE = 500


class Contestant:
    """A book to be measured: makes steps of commands, and reads what they said."""

    package = ""

    def __init__(self, *, prepared: bool) -> None:
        # Whether what a book wants to be given is made before the time is taken.
        self.prepared = prepared

    def steps(self, commands: Iterable[Command]) -> list[Step]:
        """Return what applies each command, in order; called once."""
        return [self.step(command) for command in commands]

    def step(self, command: Command) -> Step:
        raise NotImplementedError

    def fills(self, said: Any) -> Fills:
        """Return the trades in what a step returned."""
        raise NotImplementedError


class Ours(Contestant):
    """The engine of this repository. It also makes the events and the order's whole state."""

    package = "trade-engine"

    def __init__(self, *, prepared: bool) -> None:
        super().__init__(prepared=prepared)
        self._engine = MatchingEngine()

    def step(self, command: Command) -> Step:
        apply = self._engine.apply
        if self.prepared:
            return lambda: apply(command)
        kind: Any = type(command)
        fields = tuple(command)
        return lambda: apply(kind(*fields))

    def fills(self, said: Any) -> Fills:
        return [
            (event.maker.order_id, event.price_ticks, event.quantity_lots)
            for event in said
            if isinstance(event, Trade)
        ]


class Akhil4n(Contestant):
    """Sorted dictionaries of price levels, each an ordered dictionary."""

    package = "akhil4n-orderbook"

    def __init__(self, *, prepared: bool) -> None:
        super().__init__(prepared=prepared)
        self._module = import_module("orderbook")
        self._book = self._module.OrderBook()
        self._orders: dict[str, Any] = {}
        self._names: dict[str, str] = {}

    def step(self, command: Command) -> Step:
        book, orders, name = self._book, self._orders, command.order_id
        if isinstance(command, CancelOrder):
            return lambda: book.cancel_order(orders[name].order_id) and ()
        make = self._module.Order
        side = self._module.OrderSide
        fields = (
            side.BID if command.side == "buy" else side.ASK,
            command.price_ticks,
            command.quantity_lots,
        )
        prepared = self._named(name, make(*fields)) if self.prepared else None

        def add() -> Any:
            order = prepared or self._named(name, make(*fields))
            book.add_limit_order(order)
            trades, book.trade_log = book.trade_log, []
            return trades

        return add

    def _named(self, name: str, order: Any) -> Any:
        """Remember who is who: this book gives orders numbers of its own."""
        self._orders[name] = order
        self._names[order.order_id] = name
        return order

    def fills(self, said: Any) -> Fills:
        return [
            (self._names[trade.filler_id], trade.price, trade.quantity_filled)
            for trade in said or ()
        ]


class PyOrderBook(Contestant):
    """Heaps of price levels, each a dictionary in the order of arrival."""

    package = "pyorderbook"

    def __init__(self, *, prepared: bool) -> None:
        super().__init__(prepared=prepared)
        self._module = import_module("pyorderbook")
        self._book = self._module.Book()
        self._orders: dict[str, Any] = {}
        self._names: dict[Any, str] = {}
        logging.getLogger("pyorderbook.book").disabled = True

    def step(self, command: Command) -> Step:
        book, orders, name = self._book, self._orders, command.order_id
        if isinstance(command, CancelOrder):

            def cancel() -> None:
                try:
                    book.cancel(orders[name])
                except KeyError:
                    return  # filled meanwhile

            return cancel
        make = self._module.bid if command.side == "buy" else self._module.ask
        fields = ("BTC-USD", command.price_ticks, command.quantity_lots)
        prepared = self._named(name, make(*fields)) if self.prepared else None
        return lambda: book.match(prepared or self._named(name, make(*fields)))

    def _named(self, name: str, order: Any) -> Any:
        """Remember who is who: this book gives orders ids of its own."""
        self._orders[name] = order
        self._names[order.id] = name
        return order

    def fills(self, said: Any) -> Fills:
        return [
            (self._names[trade.standing_order_id], int(trade.fill_price), trade.fill_quantity)
            for trade in (said.trades if said else ())
        ]


class LightMatchingEngine(Contestant):
    """Dictionaries of price levels, whose best is looked for among all. It takes plain fields."""

    package = "lightmatchingengine"

    def __init__(self, *, prepared: bool) -> None:
        super().__init__(prepared=prepared)
        module: Any = import_module("lightmatchingengine.lightmatchingengine")
        self._engine = module.LightMatchingEngine()
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def step(self, command: Command) -> Step:
        engine = self._engine
        if isinstance(command, CancelOrder):
            number = self._numbers[command.order_id]

            def cancel() -> None:
                try:
                    engine.cancel_order(number, "BTC-USD")
                except AssertionError:
                    return  # filled meanwhile, with all of its level

            return cancel
        number = len(self._numbers) + 1
        self._numbers[command.order_id], self._names[number] = number, command.order_id
        price, quantity = command.price_ticks, command.quantity_lots
        side = 1 if command.side == "buy" else 2
        return lambda: engine.add_order("BTC-USD", price, quantity, side)

    def fills(self, said: Any) -> Fills:
        if said is None:
            return []
        order, trades = said
        return [
            (self._names[trade.order_id], trade.trade_price, trade.trade_qty)
            for trade in trades
            if trade.order_id != order.order_id
        ]


CONTESTANTS: tuple[type[Contestant], ...] = (Ours, Akhil4n, PyOrderBook, LightMatchingEngine)


def traded(
    kind: type[Contestant], book: Sequence[Command], commands: Sequence[Command]
) -> list[Fills]:
    """Return what each of these commands traded."""
    contestant = kind(prepared=False)
    for step in contestant.steps(book):
        step()
    return [contestant.fills(step()) for step in contestant.steps(commands)]


def rate(
    contestant: Contestant, book: Sequence[Command], commands: Sequence[Command], seconds: float
) -> float:
    """Return commands a second, of all of them or of so many as there is time for."""
    for step in contestant.steps(book):
        step()
    steps = contestant.steps(commands)
    gc.collect()
    done, took = 0, 0.0
    began = time.process_time()
    while done < len(steps) and took < seconds:
        for step in steps[done : done + SLICE]:
            step()
        done += SLICE
        took = time.process_time() - began
    return min(done, len(steps)) / took


def main(arguments: Sequence[str]) -> int:
    """Measure all that are installed; print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.books",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--orders", type=int, default=100_000, help="of the deep book (100,000)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (2)")
    parser.add_argument("--checked", type=int, default=50_000, help="commands compared (50,000)")
    parser.add_argument("--rounds", type=int, default=3, help="each runs so often (3)")
    args = parser.parse_args(arguments)
    book = list(itertools.islice(deep_book(1), args.orders))
    commands = list(mixed(1))
    kinds = list(filter(is_installed, CONTESTANTS))
    checked = commands[: args.checked]
    truth = traded(Ours, book, checked)
    for kind in kinds[1:]:
        fills = traded(kind, book, checked)
        if fills != truth:
            at = next(n for n, _ in enumerate(fills) if fills[n] != truth[n])
            said = f"{kind.package}, command {at}: {fills[at]}, not {truth[at]}"
            print(said, file=sys.stderr)
            return 1
    rates: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for _ in range(args.rounds):
        for kind, prepared in product(kinds, (False, True)):
            found = rate(kind(prepared=prepared), book, commands, args.seconds)
            rates[kind.package, prepared].append(found)
    report(
        rates,
        f"on {args.orders:,} resting orders; {len(checked):,} commands and "
        f"{sum(map(len, truth)):,} trades compared",
    )
    return 0


def is_installed(kind: type[Contestant]) -> bool:
    """Say what is not."""
    try:
        version(kind.package)
    except PackageNotFoundError:
        print(f"not installed: {kind.package} (the extra `bench`)", file=sys.stderr)
        return False
    return True


def report(rates: dict[tuple[str, bool], list[float]], title: str) -> None:
    """Print the medians, with the lowest and the highest."""
    medians = {key: statistics.median(found) for key, found in rates.items()}
    table = Table(title=title)
    table.add_column("book")
    for heading in ("commands/s from plain fields", "engine", "from its own objects", "engine"):
        table.add_column(heading, justify="right")
    for package in dict.fromkeys(package for package, _ in rates):
        cells = []
        for prepared in (False, True):
            found = rates[package, prepared]
            cells.append(
                f"{medians[package, prepared]:,.0f} ({min(found):,.0f} to {max(found):,.0f})"
            )
            ratio = medians[Ours.package, prepared] / medians[package, prepared]
            cells.append("" if package == Ours.package else f"x {ratio:.1f}")
        table.add_row(f"{package} {version(package)}", *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
