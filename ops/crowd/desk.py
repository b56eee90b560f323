"""Commands of the participants, and what they have in the market as far as it has told them."""

from collections import defaultdict
from typing import NamedTuple

from workers.core.messages import Side


class Submit(NamedTuple):
    """Buy or sell; a market order has no price (0)."""

    order_id: str
    side: Side
    price_ticks: int
    quantity_lots: int

    @property
    def client_id(self) -> str:
        return client_of(self.order_id)


class Cancel(NamedTuple):
    """Take back what is left of an order."""

    order_id: str


Decision = Submit | Cancel


def client_of(order_id: str) -> str:
    """Return whose order it is: ids are `<client>.<run>.<number>`; clients have no full stop."""
    return order_id.partition(".")[0]


class Own:
    """A limit order of ours from when it was sent until it is known to be gone."""

    __slots__ = ("cancelling", "order_id", "price_ticks", "remaining_lots", "resting", "side")

    def __init__(self, order: Submit, resting: bool = False) -> None:
        self.order_id = order.order_id
        self.side = order.side
        self.price_ticks = order.price_ticks
        self.remaining_lots = order.quantity_lots
        self.resting = resting
        self.cancelling = False


class Desk:
    """All of ours in one instrument: orders by client, and each client's position in lots.

    What is true of an order comes from two places that may be read in either order: its answer says
    that it rests or is gone, and trades say what was filled.
    """

    def __init__(self, run: str) -> None:
        self.orders: dict[str, Own] = {}
        self.positions: defaultdict[str, int] = defaultdict(int)
        self._run = run
        self._numbers = 0
        self._by_client: defaultdict[str, dict[str, Own]] = defaultdict(dict)

    def of(self, client_id: str) -> list[Own]:
        """Return a client's orders, oldest first."""
        return list(self._by_client[client_id].values())

    def submit(self, client_id: str, side: Side, price_ticks: int, quantity_lots: int) -> Submit:
        """Make a new order; a limit order is kept from now on."""
        self._numbers += 1
        order = Submit(f"{client_id}.{self._run}.{self._numbers}", side, price_ticks, quantity_lots)
        if price_ticks:
            self._keep(Own(order))
        return order

    def cancel(self, own: Own) -> Cancel:
        """Ask for an order to go."""
        own.cancelling = True
        return Cancel(own.order_id)

    def adopt(self, order: Submit) -> None:
        """Take over an order that rests already."""
        self._keep(Own(order, resting=True))

    def rests(self, order_id: str) -> None:
        """Learn that an order came to rest."""
        if own := self.orders.get(order_id):
            own.resting = True

    def gone(self, order_id: str) -> None:
        """Learn that nothing is left of an order, or never was."""
        if self.orders.pop(order_id, None):
            del self._by_client[client_of(order_id)][order_id]

    def traded(self, order_id: str, bought: bool, quantity_lots: int) -> bool:
        """Learn of a trade of an order; return whether it is one of this run."""
        client_id, _, rest = order_id.partition(".")
        if not rest.startswith(f"{self._run}.") and order_id not in self.orders:
            return False
        self.positions[client_id] += quantity_lots if bought else -quantity_lots
        if own := self.orders.get(order_id):
            own.remaining_lots -= quantity_lots
            if own.remaining_lots <= 0:
                self.gone(order_id)
        return True

    def forget_orders(self) -> None:
        """Know of no order any more; positions stay."""
        self.orders.clear()
        self._by_client.clear()

    def _keep(self, own: Own) -> None:
        self.orders[own.order_id] = own
        self._by_client[client_of(own.order_id)][own.order_id] = own
