"""However many ask for a ticker, the database is asked once a second."""

import asyncio

import pytest

from api import tickers
from api.tickers import Tickers
from workers.adapters.errors import Unavailable
from workers.core.records import Ticker

TICKER = Ticker(1, 1, 1, 1, 1, 1, 1, 1)


class Lookups:
    """Counts the questions and answers them when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: asyncio.Future[Ticker] = asyncio.get_running_loop().create_future()

    async def ticker(self, instrument: str) -> Ticker:
        self.asked.append(instrument)
        return await asyncio.shield(self.answer)


async def test_all_who_wait_share_one_question() -> None:
    lookups = Lookups()
    shared = Tickers(lookups)  # type: ignore[arg-type]
    waiting = [asyncio.create_task(shared.get("BTC-USD")) for _ in range(10)]
    other = asyncio.create_task(shared.get("ETH-USD"))
    await asyncio.sleep(0)
    waiting.pop(0).cancel()  # who goes away takes the answer from nobody
    lookups.answer.set_result(TICKER)
    assert await asyncio.gather(*waiting, other) == [TICKER] * 10
    assert await shared.get("BTC-USD") == TICKER
    assert lookups.asked == ["BTC-USD", "ETH-USD"]


async def test_an_old_answer_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = Lookups()
    lookups.answer.set_result(TICKER)
    shared = Tickers(lookups)  # type: ignore[arg-type]
    await shared.get("BTC-USD")
    await shared.get("BTC-USD")
    assert len(lookups.asked) == 1
    monkeypatch.setattr(tickers, "FRESH_S", -1.0)
    await shared.get("BTC-USD")
    assert len(lookups.asked) == 2


async def test_a_failure_is_told_and_not_kept() -> None:
    lookups = Lookups()
    shared = Tickers(lookups)  # type: ignore[arg-type]
    waiting = asyncio.gather(*(shared.get("BTC-USD") for _ in range(3)), return_exceptions=True)
    await asyncio.sleep(0)
    lookups.answer.set_exception(Unavailable("away"))
    assert [type(error) for error in await waiting] == [Unavailable] * 3
    lookups.answer = asyncio.get_running_loop().create_future()
    lookups.answer.set_result(TICKER)
    assert await shared.get("BTC-USD") == TICKER
