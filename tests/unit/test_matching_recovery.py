"""The lease is kept while a book is loaded, however long that takes."""

import asyncio

import pytest

from workers.adapters.errors import Fenced, Unavailable
from workers.matching.recovery import keep_lease

LEASE_MS = 20


class Ledger:
    """Renews as long as the lease is ours."""

    def __init__(self) -> None:
        self.renewed = 0
        self.ours = True
        self.enough = asyncio.Event()

    async def renew(self, epoch: int) -> bool:
        self.renewed += 1
        if self.renewed == 3:
            self.enough.set()
        return self.ours


async def test_it_is_renewed_until_the_work_is_done() -> None:
    ledger = Ledger()

    async def work() -> str:
        await ledger.enough.wait()
        return "done"

    assert await keep_lease(ledger, 1, LEASE_MS, work()) == "done"  # type: ignore[arg-type]
    assert ledger.renewed == 3


async def test_the_work_ends_when_the_lease_is_lost() -> None:
    ledger = Ledger()
    ledger.ours = False
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(Fenced):
        await keep_lease(ledger, 1, LEASE_MS, work())  # type: ignore[arg-type]
    assert ended.is_set()


async def test_its_error_is_passed_on() -> None:
    async def work() -> None:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        await keep_lease(Ledger(), 1, LEASE_MS, work())  # type: ignore[arg-type]
