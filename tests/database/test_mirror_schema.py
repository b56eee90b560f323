"""What the mirror writes, against the published schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest

from tests.history import INSTRUMENTS, make_history
from workers.adapters.kafka import Message
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_messages import EVENTS, SCHEMA_VERSION, TOPICS

SCHEMA = json.loads(Path("ops/docs/mirror.schema.json").read_text())


class Kept:
    """In Kafka's place: keeps messages."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def publish(self, messages: list[Message], *_: Any) -> None:
        self.messages += messages


@pytest.fixture
def messages(database_url: str) -> list[Message]:
    make_history(database_url, seed=31, commands=500)
    kept: Any = Kept()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for instrument in INSTRUMENTS:
            mirror_slice(connection, kept, instrument)
    return kept.messages


def validator(topic: str) -> Any:
    schema = {**SCHEMA, **SCHEMA["x-topics"][topic]}
    return jsonschema.Draft202012Validator(schema)


def test_every_message_is_as_published(messages: list[Message]) -> None:
    assert set(SCHEMA["x-topics"]) == set(TOPICS) == {message.topic for message in messages}
    validators = {topic: validator(topic) for topic in TOPICS}
    for message in messages:
        validators[message.topic].validate(json.loads(message.value))
        headers = dict(message.headers)
        assert list(headers) == ["number", "sequence", "epoch", "schema_version", "timeline"]
        assert headers["schema_version"] == b"%d" % SCHEMA_VERSION
        assert int(headers["sequence"] or "") == json.loads(message.value)["sequence"]
        assert message.key.decode() == json.loads(message.value)["instrument"]
    kinds = {json.loads(m.value)["kind"] for m in messages if m.topic == EVENTS}
    assert kinds == {"accepted", "rejected", "cancelled", "trade"}
    # So far below what any broker refuses that none is ever too large by itself.
    assert max(len(message.value) for message in messages) < 2_000


def test_numbers_are_exact_and_shortest(messages: list[Message]) -> None:
    decimals: list[str] = []
    for message in messages:
        json.loads(message.value, parse_float=decimals.append)
    assert len(decimals) > 1_000
    assert not [text for text in decimals if "e" in text.lower() or text.endswith("0")]


def test_the_schema_refuses_what_it_does_not_name(messages: list[Message]) -> None:
    for topic in TOPICS:
        value = json.loads(next(m.value for m in messages if m.topic == topic))
        assert validator(topic).is_valid(value)
        assert not validator(topic).is_valid({**value, "unknown": 1})
        for name in value:
            assert not validator(topic).is_valid({k: v for k, v in value.items() if k != name})
