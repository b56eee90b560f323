"""What a dead letter becomes when it is sent again."""

import json

import pytest

from ops.errors import OpsError
from ops.redrive import redriven
from workers.core.codec import decode_request

ORDER = {
    "command": "submit", "order_id": "id", "client_id": "c", "side": "buy", "type": "limit",
    "price": "100000000", "quantity": "250000000", "key": "k", "given": False, "ttl_ms": 1,
    "reply_to": "replies.edge-1", "correlation": 17,
}  # fmt: skip
CANCEL = {
    "command": "cancel", "order_id": "id", "ttl_ms": 1, "reply_to": "replies.edge-1",
    "correlation": 17,
}  # fmt: skip


def test_an_order_keeps_its_terms_and_is_looked_up() -> None:
    append = redriven(json.dumps(ORDER).encode())
    assert append[:4] == ("again", "id", "c", "")
    before = decode_request(json.dumps(ORDER).encode(), time_us=0, age_us=0).command
    command, reply_to, _ = decode_request(append.request, time_us=5, age_us=0)
    same = {"time_us": 0, "deadline_us": 0, "order_id_given": True}
    assert command._replace(**same) == before._replace(**same)
    assert command.order_id_given, "so that a second one is found to be the same order"
    assert command.deadline_us >= 60_000_000, "from now on, not from then"
    assert reply_to == "replies.redrive", "nobody must take it for the answer to something else"


def test_a_cancel() -> None:
    append = redriven(json.dumps(CANCEL).encode())
    assert append[:4] == ("cancel", "id", "", "")
    assert decode_request(append.request, time_us=0, age_us=0).reply_to == "replies.redrive"


@pytest.mark.parametrize(
    "payload", [b"", b"not json", b"[]", json.dumps(ORDER | {"side": 1}).encode()]
)
def test_what_cannot_be_read_is_not_sent(payload: bytes) -> None:
    with pytest.raises(OpsError, match=r"^It still cannot be read \("):
        redriven(payload)
