"""The simulated Redis against a real one: same commands, same scripts, same answers and data.

The simulation (tests/simulation) stands on this: where the two differed, it would prove nothing.
"""

import asyncio
from random import Random
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from tests.simulation.redis_server import Keys, run_script, script_text
from workers.adapters.streams import next_position, parse_position

NAME = "BTC-USD"
KEYS = [f"orders:{{{NAME}}}", *(f"depth:{{{NAME}}}{part}" for part in ("", ":bids", ":asks"))]
STREAM = KEYS[0]
STEPS = 400


class Twins:
    """A real server and a simulated one, which are told the same things."""

    def __init__(self, server: "redis.Redis") -> None:
        self.server = server
        self.now_us = 1_700_000_000_000_000
        self.simulated = Keys(lambda: self.now_us)
        self.published: list[tuple[bytes, bytes]] = []
        self.simulated.published = lambda channel, payload: (
            self.published.append((channel, payload)) or 0
        )
        self.scripts = {
            name: server.register_script(script_text(name))
            for name in ("append.lua", "publish.lua", "reset_depth.lua")
        }
        self.errors = 0

    def both(self, what: str, real: Any, simulated: Any) -> Any:
        answers = []
        for ask in (real, simulated):
            try:
                answers.append(ask())
            except ResponseError as error:
                # The first word tells errors apart; the rest is prose.
                answers.append(str(error).split()[0])
                self.errors += 1
        assert answers[0] == answers[1], what
        return answers[0]

    def script(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        return self.both(
            f"{name} {arguments}",
            lambda: self.scripts[name](keys, arguments),
            lambda: run_script(self.simulated, script_text(name), keys, arguments),
        )

    def command(self, *words: Any) -> Any:
        """Run a command that both understand as it stands."""
        name = "_".join(words[: 2 if words[0] in ("xgroup", "xinfo") else 1])
        rest = words[2 if words[0] in ("xgroup", "xinfo") else 1 :]
        return self.both(
            str(words),
            lambda: self.server.execute_command(*words),
            lambda: self.simulated.command(name, *rest),
        )

    def read(self, group: str, count: int) -> Any:
        def real() -> Any:
            found = self.server.xreadgroup(group, "m", {STREAM: ">"}, count=count)
            return [(i, list(sum(f.items(), ()))) for i, f in found[0][1]] if found else []

        def simulated() -> Any:
            found = self.simulated.xreadgroup(STREAM.encode(), group.encode(), count)
            return [(i, f) for i, f in found[0][1]] if found else []

        return self.both(f"read {group} {count}", real, simulated)

    def compare(self) -> None:
        """Look at everything there is."""

        def simulated_stream() -> Any:
            info = self.simulated.xinfo_stream(STREAM.encode())
            return info["last-generated-id"], info["max-deleted-entry-id"], info["groups"]

        def real_stream() -> Any:
            info = self.server.xinfo_stream(STREAM)
            return info["last-generated-id"], info["max-deleted-entry-id"], info["groups"]

        self.both("xinfo stream", real_stream, simulated_stream)
        fields = ("name", "pending", "last-delivered-id")
        self.both(
            "xinfo groups",
            lambda: [[g[f] for f in fields] for g in self.server.xinfo_groups(STREAM)],
            lambda: [[g[f] for f in fields] for g in self.simulated.xinfo_groups(STREAM.encode())],
        )
        for key in KEYS[1:]:
            assert self.server.hgetall(key) == self.simulated.hgetall(key.encode())


@pytest.mark.parametrize("seed", range(3))
def test_the_same_commands_do_the_same(redis_url: str, seed: int) -> None:
    chance = Random(seed)
    with redis.from_url(redis_url) as server:
        twins = Twins(server)
        epoch, sequence, position = 1, 0, "0-0"
        for number in range(STEPS):
            twins.now_us += chance.randrange(3_000)
            what = chance.randrange(12)
            if what < 4:
                # Real ids come from the real clock; both are made to give the same.
                last = twins.simulated.data.get(STREAM.encode())
                stream_id = f"{number + 1_000}-{chance.randrange(3)}"
                if last is not None and chance.random() < 0.8:
                    twins.command("xadd", STREAM, stream_id, "request", f"entry {number}")
                else:
                    twins.command("xadd", STREAM, position, "floor", "")
            elif what == 4:
                group = f"matcher-{chance.randrange(4)}"
                action = chance.choice(("create", "setid", "destroy"))
                place = () if action == "destroy" else (position,)
                if action != "destroy" or STREAM.encode() in twins.simulated.data:
                    twins.command("xgroup", action, STREAM, group, *place)
            elif what < 7:
                found = twins.read(f"matcher-{chance.randrange(4)}", chance.randint(1, 5))
                if isinstance(found, list) and found:
                    position = max(position, found[-1][0].decode(), key=parse_position)
            elif what == 7:
                epoch += chance.choice((0, 0, 1))
                levels = [chance.randrange(1, 9) for _ in range(4)]
                told = epoch - chance.choice((0, 0, 0, 1))
                for step in (["begin"], ["bids", *levels], ["asks", *levels], ["finish", sequence]):
                    extra = ["channel", "news", "PUBLISH"] if step[0] == "finish" else []
                    twins.script("reset_depth.lua", KEYS[1:], [told, *step, *extra])
            elif what < 10:
                after = sequence + chance.choice((0, 1, 3))
                told = epoch - chance.choice((0, 0, 0, 1))
                ids = [f"{1_000 + chance.randrange(number + 1)}-{chance.randrange(3)}"]
                bids = [(chance.randrange(1, 5), chance.randrange(3)) for _ in range(2)]
                arguments: list[Any] = [
                    told, sequence - chance.choice((0, 0, 1)), after, "d", "delta", "c", "changes",
                    f"matcher-{chance.randrange(4)}", next_position(position), len(bids), 0, 1, 1,
                    "PUBLISH", *sum(bids, ()), "replies.x", "reply", *ids,
                ]  # fmt: skip
                if twins.script("publish.lua", KEYS, arguments) == 1:
                    sequence = after
            elif what == 10 and chance.random() < 0.3:
                twins.command("del", STREAM)
            else:
                twins.command("xdel", STREAM, f"{1_000 + chance.randrange(number + 1)}-0")
            twins.compare()
        assert twins.errors > 10
        assert len(twins.published) > 10


@pytest.mark.parametrize("seed", range(2))
def test_the_same_appends_are_taken(redis_url: str, seed: int) -> None:
    chance = Random(seed)
    with redis.from_url(redis_url) as server:
        twins = Twins(server)
        names = [f"first:{{{NAME}}}/c/{key}" for key in "abc"]
        for number in range(120):
            if chance.random() < 0.05:
                twins.command("del", STREAM)
            if chance.random() < 0.1:
                twins.command("xadd", STREAM, f"{(1 << 45) + number}-0", "floor", "")
            keys, arguments = [STREAM], [12, 15, 60_000]
            for _ in range(chance.randint(1, 3)):
                kind = chance.choice(("order", "order", "again", "cancel"))
                key = 0
                if kind != "cancel" and chance.random() < 0.6:
                    keys.append(chance.choice(names))
                    key = len(keys)
                arguments += [kind, key, f"order-{number}", f"request {number}"]
            twins.script("append.lua", keys, arguments)
            for name in names:
                assert server.get(name) == twins.simulated.get(name.encode())
            entries = [list(sum(fields.items(), ())) for _, fields in server.xrange(STREAM)]
            stream = twins.simulated.data.get(STREAM.encode())
            assert entries == (list(stream.entries.values()) if stream else [])


@pytest.mark.parametrize("loss", ["del", "xgroup destroy"])
async def test_a_blocked_reader_is_told_that_it_waits_for_nothing(
    redis_url: str, loss: str
) -> None:
    """The simulation ends such a read with an error, as the server does."""
    async with redis.asyncio.from_url(redis_url) as server:
        await server.xadd(STREAM, {"floor": ""}, id="0-1")
        await server.xgroup_create(STREAM, "matcher-1", id="0-1")
        reading = asyncio.create_task(
            server.xreadgroup("matcher-1", "m", {STREAM: ">"}, block=20_000)
        )
        while not (await server.info("clients"))["blocked_clients"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if loss == "del":
            await server.delete(STREAM)
        else:
            await server.xgroup_destroy(STREAM, "matcher-1")
        with pytest.raises(ResponseError):
            await asyncio.wait_for(reading, 10)
