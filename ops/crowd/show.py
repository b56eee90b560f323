"""What a crowd does, in one line: rates, latency, and where each instrument stands."""

import time
from collections.abc import Sequence

from ops.client.rates import Rates
from ops.client.show import median_ms, stands
from ops.crowd.trader import Trader


class MarketLine:
    """The line of some traders; call it about once a second."""

    def __init__(self, traders: Sequence[Trader]) -> None:
        self._traders = traders
        self._rates = Rates()

    def __call__(self) -> str:
        """Return the line as of now."""
        traders = self._traders
        counts = {
            "orders": sum(trader.entry.answered for trader in traders),
            "trades": sum(trader.feed.trades for trader in traders),
        }
        self._rates.sample(time.monotonic(), counts)
        refused = sum(trader.refused for trader in traders)
        why = next((trader.last_refusal for trader in traders if trader.last_refusal), "")
        parts = [
            f"{self._rates.per_second('orders'):.0f} orders/s",
            f"{self._rates.per_second('trades'):.0f} trades/s",
            f"p50 {median_ms([s for trader in traders for s in trader.entry.latencies])}",
            *([f"{refused} refused ({why})"] if refused else []),
            *(stands(trader.feed) for trader in traders),
        ]
        return "  ".join(parts)
