"""All participants of one instrument: when somebody acts, who it is, and what it decides.

Pure: no clock, no I/O. Times of arrival depend on the seed alone. What is decided at an arrival
depends on the seed, on the arrivals before it, and on what the market has told until then (the
book, answers, trades): with an exchange that answers the same, decisions are the same, on the same
platform (the mathematics library rounds its last bit elsewhere). Against an exchange that answers
in real time, what is known at an arrival differs from run to run, and so do decisions.
"""

from random import Random
from typing import Final

from ops.client.feed import mid_ticks
from ops.crowd.desk import Decision, Desk, Submit
from ops.crowd.fair import FairPrice
from ops.crowd.hawkes import Hawkes, baseline_for
from ops.crowd.maker import Maker
from ops.crowd.others import Momentum, Noise, Patient
from ops.crowd.terms import Terms
from workers.core.depth import DepthReplica
from workers.core.messages import Side

CLIENTS_DEFAULT: Final = 40
MAKERS: Final = 4

# Kinds of arrival, and what share of all commands each makes: most are quotes that move.
BUY, SELL, FOLLOW, QUOTE, WAIT = range(5)
_SHARES: Final = (0.075, 0.075, 0.03, 0.70, 0.12)
# Commands of one arrival, on average: some decide on nothing, and makers on up to two.
_COMMANDS: Final = (1.0, 1.0, 0.7, 1.65, 1.0)
# How many of each kind (row) one of each kind (column) causes: who buys is followed by buyers, and
# takers make makers quote anew.
BRANCHING: Final = (
    (0.62, 0.06, 0.15, 0.00, 0.00),
    (0.06, 0.62, 0.15, 0.00, 0.00),
    (0.08, 0.08, 0.10, 0.00, 0.00),
    (0.60, 0.60, 0.60, 0.25, 0.00),
    (0.00, 0.00, 0.00, 0.00, 0.10),
)
# A burst is over in seconds.
DECAY_PER_S: Final = 1.5


def arrival_rates(rate: float) -> list[float]:
    """Return arrivals per second of each kind that come to so many commands per second."""
    return [rate * share / each for share, each in zip(_SHARES, _COMMANDS, strict=True)]


class Crowd:
    """The participants. Ask `next_at` for the next arrival's time and `act` when it has come."""

    def __init__(
        self,
        terms: Terms,
        *,
        seed: int,
        rate: float,
        clients: int = CLIENTS_DEFAULT,
        name: str = "market",
        run: str = "0",
    ) -> None:
        # Each with numbers of its own: what is decided must not move the next arrival.
        random, prices, times = (
            Random(f"{seed} {terms.instrument} {what}") for what in ("decisions", "price", "times")
        )
        self.terms = terms
        self.desk = Desk(run)
        self._name = name
        self._random = random
        self._fair = FairPrice(prices, terms.start_ticks, terms.anchor_ticks)
        makers = self._names("maker", MAKERS)
        followers = self._names("momentum", max(1, clients // 10))
        # As many buyers as sellers: otherwise makers would end up with the difference.
        patient = self._names("patient", 2 * max(1, clients // 6))
        noise = self._names("noise", max(1, clients - len(followers) - len(patient)))
        # Those whose orders rest.
        self.resting_ids = [*makers, *patient]
        self._makers = [
            Maker(client_id, place, terms, random) for place, client_id in enumerate(makers)
        ]
        self._momentum = Momentum(followers, terms, random)
        self._patient = Patient(patient, terms, random)
        self._noise = Noise(noise, terms, random)
        self._arrivals = Hawkes(
            times, baseline_for(arrival_rates(rate), BRANCHING), BRANCHING, DECAY_PER_S
        )
        self._now = 0.0
        self.next_at, self._kind = self._arrivals.next()

    def act(self, book: DepthReplica) -> list[Decision]:
        """Let the next arrival happen, seeing this book; return its commands, in order."""
        seconds = self.next_at - self._now
        self._now = self.next_at
        self._fair.advance(seconds)
        mid = mid_ticks(book)
        self._momentum.see(self._fair.price_ticks if mid is None else mid, seconds)
        decisions = self._decide(self._kind, book)
        self.next_at, self._kind = self._arrivals.next()
        return decisions

    def _decide(self, kind: int, book: DepthReplica) -> list[Decision]:
        if kind in (BUY, SELL):
            side: Side = "buy" if kind == BUY else "sell"
            return self._noise.turn(self.desk, side, book)
        if kind == FOLLOW:
            return self._momentum.turn(self.desk, book)
        if kind == QUOTE:
            maker = self._random.choice(self._makers)
            return maker.turn(self.desk, self._fair.price_ticks, self._fair.volatility)
        return self._patient.turn(self.desk, book, self._fair.price_ticks)

    def trade(
        self, buy_order_id: str, sell_order_id: str, taker_side: Side, quantity_lots: int
    ) -> None:
        """Learn of a trade, whosever it is."""
        self.desk.traded(buy_order_id, True, quantity_lots)
        self.desk.traded(sell_order_id, False, quantity_lots)
        self._fair.trade(taker_side == "buy", quantity_lots / self.terms.unit_lots)

    def adopt(self, orders: list[Submit]) -> None:
        """Learn what rests of ours, after a connection was lost or in an earlier run."""
        self.desk.forget_orders()
        for order in orders:
            self.desk.adopt(order)

    def _names(self, role: str, count: int) -> list[str]:
        return [f"{self._name}-{role}-{number}" for number in range(1, count + 1)]
