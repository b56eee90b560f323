"""What an order is answered when things go wrong after it was sent."""

from types import SimpleNamespace

import pytest
from sanic import Sanic

from api.errors import ApiError
from api.exchange import Exchange
from api.orders import cancel_order, submit_order
from api.submit import NoReply
from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.core.codec import Reply
from workers.core.instruments import Instrument
from workers.metrics import Metrics

BTC_USD = Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading")


class Submitter:
    """Answers every command the same way."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    async def submit(self, instrument: Instrument, command: object) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class BrokenLookups:
    """A database that is away."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> object:
        async def fail(*_: object, **__: object) -> None:
            raise self.error

        return fail


class Instruments:
    def get(self, name: str) -> Instrument:
        return BTC_USD


class Request:
    """As much of a request as the handlers look at."""

    body = b'{"client_id":"a","side":"buy","type":"limit","price":1,"quantity":1,"order_id":"it"}'
    headers: dict[str, str] = {}  # noqa: RUF012
    args = {"instrument": "BTC-USD"}  # noqa: RUF012

    def __init__(self, answer: object, error: Exception) -> None:
        exchange = Exchange(
            Submitter(answer),
            BrokenLookups(error),
            Instruments(),
            None,
            None,  # type: ignore[arg-type]
        )
        self.ctx = SimpleNamespace()
        self.app = SimpleNamespace(ctx=SimpleNamespace(exchange=exchange, metrics=Metrics()))


@pytest.fixture(autouse=True)
def no_app_is_kept() -> None:
    Sanic._app_registry.clear()


@pytest.mark.parametrize("error", [Unavailable("away"), OutcomeUnknown("away")], ids=repr)
@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        (submit_order, NoReply()),
        (submit_order, Reply(1, "duplicate", 0, "it")),
        (cancel_order, NoReply()),
        (cancel_order, Reply(1, "not_resting", 0, "it")),
    ],
    ids=repr,
)
async def test_once_sent_it_is_never_called_not_applied(
    handler: object, answer: object, error: Exception
) -> None:
    arguments = ("it",) if handler is cancel_order else ()
    with pytest.raises(ApiError) as refused:
        await handler(Request(answer, error), *arguments)  # type: ignore[operator]
    assert refused.value.status == 504
    assert refused.value.extra == {"order_id": "it"}


@pytest.mark.parametrize("handler", [submit_order, cancel_order])
async def test_what_was_certainly_not_sent_is_refused(handler: object) -> None:
    arguments = ("it",) if handler is cancel_order else ()
    refusal = ApiError("unavailable", "nothing was applied")
    with pytest.raises(ApiError) as refused:
        await handler(Request(refusal, Unavailable("away")), *arguments)  # type: ignore[operator]
    assert refused.value.status == 503
