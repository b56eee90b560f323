"""Which instruments a matcher takes and which it gives back, so that all hold about equally many.

Nobody assigns anything. Each matcher knows how many live, and holds at most its share of the
instruments; who has more, because another one joined, gives back one at a time. Two exceptions keep
trading above balance: what stays free although others have room for it is taken by anyone; and
nothing is given back until the matchers have been the same for a while.
"""

from collections.abc import Collection

from workers.adapters.shards import Roster

# In leases. What nobody took for this long is taken beyond the share: whoever has room cannot.
PATIENCE_LEASES = 0.5
# So long nobody has come or gone before balance is worth the pause of a hand-over. It is also the
# shortest time between two rounds of an instrument that nobody else can take.
SETTLED_LEASES = 3.0


class Share:
    """One matcher's share. Times are seconds of any steady clock."""

    def __init__(self, lease_s: float) -> None:
        self._patience_s = PATIENCE_LEASES * lease_s
        self._settled_s = SETTLED_LEASES * lease_s
        self._free_since: dict[int, float] = {}
        self._matchers = 0
        self._settled_since = 0.0

    def to_take(self, roster: Roster, held: Collection[int], now: float) -> list[int]:
        """Return the instruments to take now."""
        self._notice(roster, now)
        free = sorted(set(roster.free) - set(held))
        # Matchers that look at the same moment begin at different ends.
        first = roster.place % len(free) if free else 0
        free = free[first:] + free[:first]
        room = max(0, share_of(roster) - len(held))
        chosen = free[:room]
        late = [n for n in free[room:] if now - self._free_since[n] > self._patience_s]
        if late:
            self._settled_since = now
        return chosen + late

    def to_give_back(self, roster: Roster, held: Collection[int], now: float) -> int | None:
        """Return the instrument to give back now, if any: others have room for it."""
        settled = now - self._settled_since > self._settled_s
        if settled and not roster.free and len(held) > share_of(roster):
            return max(held)
        return None

    def _notice(self, roster: Roster, now: float) -> None:
        self._free_since = {n: self._free_since.get(n, now) for n in roster.free}
        if roster.matchers != self._matchers:
            self._matchers = roster.matchers
            self._settled_since = now


def share_of(roster: Roster) -> int:
    """Return how many instruments one matcher holds at most."""
    return -(-roster.instruments // max(1, roster.matchers))
