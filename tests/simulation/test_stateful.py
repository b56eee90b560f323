"""The same exchange, driven step by step by Hypothesis, which shrinks what it finds.

Nothing is left to chance but what Hypothesis chooses: commands, faults of the next calls, events,
and how much time passes between them. In the end there is peace, and everything must be settled.
"""

import asyncio
import contextlib
from collections import deque
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from api.schemas import OrderBody
from tests.builders import unhurried
from tests.simulation.exchange_world import MATCHERS, Operation, World, standing_in
from tests.simulation.network import CALL_FAULTS, EVENTS, Fate, Swarm

# Faults of a message depend on who is subscribed; the swarm has them.
NEXT_CALL = tuple(name for name in CALL_FAULTS if not name.endswith(("message", "subscription")))
PEACE_S = 40.0


class Chosen(Swarm):
    """Each fault strikes one call: the next one that it can strike."""

    def __init__(self) -> None:
        super().__init__(Random(0))
        self.next: deque[str] = deque()

    def fate(self, *, doubling: bool, refusing: bool) -> Fate:
        fault = self.next[0] if self.next and self.on else ""
        if (
            not fault
            or (fault == "doubled" and not doubling)
            or (fault == "refused" and not refusing)
        ):
            return Fate(frozenset(), 0.001, 0.001)
        self.next.popleft()
        late = {"slow": 0.1, "stall": 3.0}.get(fault, 0.001)
        return Fate(frozenset((fault,)), late, 0.001)


class Exchange(RuleBasedStateMachine):
    """One instrument, two matchers, one edge."""

    def __init__(self) -> None:
        super().__init__()
        self.world = world = World(0, frozenset())
        chosen = Chosen()
        world.swarm = world.redis.swarm = world.postgres.swarm = chosen
        world.redis.keeps_states = True
        world.chance = Random(0)
        world.evil = Random(0)
        self.chosen = chosen
        self.standing = contextlib.ExitStack()
        self.standing.enter_context(standing_in(world))
        self.told: list[Operation] = []

    @initialize()
    def start(self) -> None:
        async def begin() -> None:
            for number in range(MATCHERS):
                self.world.start_matcher(f"matcher{number}")
            self.world.start_edge("edge0")
            await asyncio.sleep(0.5)

        self._run(begin())

    def _run(self, work: object) -> None:
        self.world.loop.run(work, self.world.clients)  # type: ignore[arg-type]

    def _send(self, body: OrderBody | None, order_id: str | None, instrument: str) -> None:
        world = self.world
        operation = Operation(0, body, order_id, instrument)
        world.operations.append(operation)
        if body is not None:
            self.told.append(operation)
        world.unfinished += 1
        self.world.loop.start(world.clients, world._ask_aside(operation))

    @rule(
        buy=st.booleans(),
        price=st.integers(98, 102),
        quantity=st.integers(1, 3),
        named=st.sampled_from(("id", "key", "neither")),
    )
    def order(self, buy: bool, price: int, quantity: int, named: str) -> None:
        world = self.world
        world.names += 1
        body = OrderBody.model_construct(
            client_id="client",
            side="buy" if buy else "sell",
            type="limit",
            quantity=quantity * 10**8,
            price=price * 10**8,
            instrument=world.instruments[0],
            order_id=f"order-{world.names}" if named == "id" else None,
            idempotency_key=f"key-{world.names}" if named == "key" else None,
        )
        self._send(body, body.order_id, body.instrument)

    @precondition(lambda self: self.told)
    @rule(place=st.integers(0, 50), other=st.booleans())
    def repeat(self, place: int, other: bool) -> None:
        body = self.told[place % len(self.told)].body
        assert body is not None
        if other:
            body = body.model_copy(update={"quantity": body.quantity + 1})
        self._send(body, body.order_id, body.instrument)

    @precondition(lambda self: any(o.order_id for o in self.told))
    @rule(place=st.integers(0, 50))
    def cancel(self, place: int) -> None:
        named = [o for o in self.told if o.order_id]
        operation = named[place % len(named)]
        self._send(None, operation.order_id, operation.instrument)

    @rule(fault=st.sampled_from(NEXT_CALL))
    def fault_of_the_next_call(self, fault: str) -> None:
        self.chosen.next.append(fault)

    @rule(event=st.sampled_from(EVENTS), chance=st.integers(0, 3))
    def happen(self, event: str, chance: int) -> None:
        self.world.evil = Random(chance)

        async def now() -> None:
            getattr(self.world, "do_" + event.replace(" ", "_"))()

        self._run(now())

    @rule(seconds=st.sampled_from((0.001, 0.004, 0.02, 0.3, 2.5)))
    def wait(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    def teardown(self) -> None:
        world = self.world
        try:
            self._run(world.peace(PEACE_S))
            assert world.checker.problems + world.postgres.misused == []
        finally:
            world.loop.end(world.processes)
            self.standing.close()


TestExchange = Exchange.TestCase
TestExchange.settings = settings(unhurried, max_examples=25, stateful_step_count=25, deadline=None)
