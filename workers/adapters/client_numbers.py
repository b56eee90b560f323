"""The numbers of clients that a matcher has at hand: bounded, for the database has them all."""

from collections.abc import Collection
from itertools import islice

# About 150 bytes each, so 15 MB per instrument. Whoever is asked for after that is looked up.
CLIENTS_MAX = 100_000
# So many go at once when it is full, 1 or 2 ms: one by one they would cost each new client more.
SHARE_DROPPED = 8


class ClientNumbers(dict[str, int]):
    """client_id -> client_no. Reading it is a plain dictionary's, and costs nothing more."""

    def __init__(self, clients_max: int = CLIENTS_MAX) -> None:
        super().__init__()
        self._clients_max = clients_max

    def learn(self, numbers: Collection[tuple[str, int]], wanted: Collection[str] = ()) -> None:
        """Take more in; those that were first go first, but never those that are `wanted` now."""
        excess = len(self) + len(numbers) - self._clients_max
        if excess > 0:
            count = max(excess, self._clients_max // SHARE_DROPPED)
            for client_id in list(islice((c for c in self if c not in wanted), count)):
                del self[client_id]
        self.update(numbers)
