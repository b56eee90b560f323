"""What an order is answered when things go wrong after it was sent, and when it was sent before."""

from types import SimpleNamespace
from typing import Any

import pytest

from api import trading
from api.errors import ApiError
from api.exchange import Exchange
from api.schemas import OrderBody
from api.submit import Answer, NoReply, Repeat
from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.core.codec import Reply
from workers.core.instruments import Instrument
from workers.core.records import OrderRecord
from workers.metrics import Metrics

BTC_USD = Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading")
BODY = OrderBody(client_id="a", side="buy", type="limit", price="1", quantity="1", order_id="it")
KEYED = BODY.model_copy(update={"order_id": None, "idempotency_key": "k"})
FIRST = OrderRecord(
    "first", 1, "a", "BTC-USD", "buy", "limit", 10**8, 10**8, 0, 0, "open", "", "k", 1, 1
)

# At which it was accepted.
SEQUENCE = 7


class Submitter:
    """Gives its answers one after the other; keeps what was sent."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[bool] = []

    def instrument_of(self, order_id: str) -> None:
        return None

    async def submit(self, instrument: Instrument, command: object, *, again: bool = False) -> Any:
        self.sent.append(again)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Lookups:
    """A database that holds one order, or that is away."""

    def __init__(self, stored: OrderRecord | Exception | None) -> None:
        self.stored = stored

    async def order(self, order_id: str) -> OrderRecord | None:
        if isinstance(self.stored, Exception):
            raise self.stored
        return self.stored if self.stored and self.stored.order_id == order_id else None

    async def order_id_of_key(self, *key: object) -> str | None:
        return None

    async def accepted_sequence(self, order_id: str) -> int | None:
        return SEQUENCE if await self.order(order_id) else None

    async def order_trades(self, order_id: str, *, taker_only: bool) -> tuple[()]:
        return ()


def exchange(
    submitter: Submitter, stored: OrderRecord | Exception | None, book_at: int = -1
) -> Any:
    fakes: dict[str, Any] = dict.fromkeys(("past", "feed", "reader", "tickers", "limiter", "relay"))
    fakes["feed"] = SimpleNamespace(books={"BTC-USD": SimpleNamespace(sequence=book_at)})
    instruments: Any = SimpleNamespace(get=lambda name: BTC_USD)
    return Exchange(
        submitter=submitter,  # type: ignore[arg-type]
        lookups=Lookups(stored),  # type: ignore[arg-type]
        instruments=instruments,
        metrics=Metrics(),
        **fakes,
    )


@pytest.mark.parametrize("error", [Unavailable("away"), OutcomeUnknown("away")], ids=repr)
@pytest.mark.parametrize("answer", [NoReply(), Reply(1, "duplicate", 0, "it")], ids=repr)
async def test_an_order_once_sent_is_never_called_not_applied(
    answer: Answer | Exception, error: Exception
) -> None:
    with pytest.raises(ApiError) as refused:
        await trading.submit(exchange(Submitter(answer), error), BODY)
    assert (refused.value.status, refused.value.extra) == (504, {"order_id": "it"})


@pytest.mark.parametrize("error", [Unavailable("away"), OutcomeUnknown("away")], ids=repr)
@pytest.mark.parametrize("answer", [NoReply(), Reply(1, "not_resting", 0, "it")], ids=repr)
async def test_a_cancel_once_sent_is_never_called_not_applied(
    answer: Answer | Exception, error: Exception
) -> None:
    with pytest.raises(ApiError) as refused:
        await trading.cancel(exchange(Submitter(answer), error), "it", "BTC-USD")
    assert (refused.value.status, refused.value.extra) == (504, {"order_id": "it"})


async def test_what_was_certainly_not_sent_is_refused() -> None:
    refusal = ApiError("unavailable", "nothing was applied")
    with pytest.raises(ApiError) as refused:
        await trading.submit(exchange(Submitter(refusal), Unavailable("away")), BODY)
    assert refused.value is refusal
    with pytest.raises(ApiError) as refused:
        await trading.cancel(exchange(Submitter(refusal), Unavailable("away")), "it", "BTC-USD")
    assert refused.value is refusal


async def test_a_key_that_went_out_and_is_stored_is_answered_without_sending() -> None:
    submitter = Submitter(Repeat("first"))
    submitted = await trading.submit(exchange(submitter, FIRST), KEYED)
    assert (submitted.order, submitted.repeated, submitter.sent) == (FIRST, True, [False])


async def test_another_body_under_a_stored_key_is_a_conflict() -> None:
    submitter = Submitter(Repeat("first"))
    with pytest.raises(ApiError) as refused:
        await trading.submit(
            exchange(submitter, FIRST), KEYED.model_copy(update={"quantity": 2 * 10**8})
        )
    assert refused.value.code == "idempotency_conflict"


@pytest.mark.parametrize(
    "stored",
    [
        None,
        # The order_id was somebody else's, so the first request under this key was refused.
        FIRST._replace(client_id="b"),
        FIRST._replace(idempotency_key="other"),
        FIRST._replace(instrument="ETH-USD"),
    ],
    ids=["lost or on its way", "another client's", "another key's", "another instrument's"],
)
async def test_a_key_that_went_out_and_is_not_stored_is_sent_again(
    stored: OrderRecord | None,
) -> None:
    submitter = Submitter(Repeat("first"), Reply(2, "accepted", 7, "it", FIRST))
    submitted = await trading.submit(exchange(submitter, stored), KEYED)
    assert (submitted.order, submitted.repeated) == (FIRST, False)
    assert submitter.sent == [False, True]


@pytest.mark.parametrize("answer", [FIRST, NoReply()], ids=["looked up", "no reply"])
@pytest.mark.parametrize(
    ("book_at", "repeated"),
    # The book that was known when it was sent tells whether its order was there before.
    [(SEQUENCE - 1, False), (SEQUENCE, True), (SEQUENCE + 1, True), (-1, False)],
)
async def test_a_repeat_that_is_looked_up_is_told_from_the_first(
    answer: Answer | Exception, book_at: int, repeated: bool
) -> None:
    named = BODY.model_copy(update={"order_id": "first"})
    submitted = await trading.submit(exchange(Submitter(answer), FIRST, book_at), named)
    assert (submitted.order, submitted.repeated) == (FIRST, repeated)


async def test_what_was_told_by_a_look_up_is_remembered() -> None:
    """Without Redis there is no book to know it from."""
    named = BODY.model_copy(update={"order_id": "first"})
    asked = exchange(Submitter(FIRST, FIRST), FIRST)
    assert not (await trading.submit(asked, named)).repeated
    assert (await trading.submit(asked, named)).repeated
