"""What the campaigns find missing in Kafka."""

import pytest

from ops.faulting.kafka import MockKafka
from workers.adapters.kafka import Message, Publisher
from workers.jobs.mirror_messages import EVENTS, TOPICS
from workers.settings import KafkaSettings


def event(number: int, value: bytes = b"") -> Message:
    return Message(EVENTS, b"BTC-USD", value or b"%d" % number, [("number", b"%d" % number)])


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([event(7), event(8), event(9)], ""),
        ([event(7), event(8), event(7), event(8), event(9)], ""),
        ([event(7), event(9)], "9 follows 7"),
        ([event(7), event(8), event(8, b"other"), event(9)], "another message"),
        ([event(7), event(8)], "8 is the last one, not 9"),
        ([], "None is the last one, not 9"),
    ],
)
def test_what_is_missing(messages: list[Message], problem: str) -> None:
    kafka = MockKafka()
    publisher = Publisher(KafkaSettings(kafka.brokers), TOPICS)
    try:
        if messages:
            publisher.publish(messages, 20.0)
    finally:
        publisher.close()
    problems = kafka.problems({"BTC-USD": 9})
    assert bool(problems) == bool(problem)
    assert all(problem in found for found in problems)
