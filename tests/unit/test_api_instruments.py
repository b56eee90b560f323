"""The edge's list of instruments."""

import asyncio

import pytest

from api.errors import ApiError
from api.instruments import Instruments
from workers.adapters.errors import Unavailable
from workers.core.instruments import Instrument

BTC_USD = Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading")


class Lookups:
    """A database that answers after it was away."""

    def __init__(self) -> None:
        self.away = True

    async def timeline(self) -> int:
        return 3

    async def instruments(self) -> list[tuple[Instrument, bool]]:
        if self.away:
            raise Unavailable("away")
        return [(BTC_USD, True)]


async def test_before_the_first_answer_nothing_is_unknown() -> None:
    """A process that is starting must not say that an instrument does not exist."""
    lookups = Lookups()
    instruments = Instruments(lookups)  # type: ignore[arg-type]
    refreshing = asyncio.create_task(instruments.run())
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as refused:
        instruments.get("BTC-USD")
    assert refused.value.status == 503
    lookups.away = False
    assert await instruments.wait_known() == ["BTC-USD"]
    assert instruments.get("BTC-USD") == BTC_USD
    assert instruments.timeline == 3
    with pytest.raises(ApiError) as refused:
        instruments.get("NO-NE")
    assert refused.value.status == 404
    refreshing.cancel()
