"""What is said when nobody matches, and when."""

import logging

import pytest

from api.unmatched import GRACE_S, REPEAT_S, Watch, complaints
from workers.core.instruments import Instrument

BTC = Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading")
ETH = Instrument(2, "ETH-USD", "ETH", "USD", 1, 1, "trading")
NONE = [(BTC, False), (ETH, False)]
SOME = [(BTC, True), (ETH, False)]
ALL = [(BTC, True), (ETH, True)]


def test_what_is_said() -> None:
    assert complaints([]) == complaints(ALL) == []
    (said,) = complaints(SOME)
    assert said.startswith("no matcher holds ETH-USD: ")
    (said,) = complaints(NONE)
    assert said.startswith("no matcher runs")
    assert "python -m workers.matching" in said
    assert "scale `matcher` to 1" in said


# (seconds, what there is, whether an error is logged)
STORY = [
    (0.0, NONE, False),  # it has just started
    (GRACE_S - 0.1, NONE, False),
    (GRACE_S, NONE, True),
    (GRACE_S + REPEAT_S - 0.1, SOME, False),
    (GRACE_S + REPEAT_S, SOME, True),
    (100.0, ALL, False),
    (101.0, NONE, False),  # a take-over, perhaps
    (103.0, ALL, False),
    (104.0, NONE, False),
    (104.0 + GRACE_S, NONE, True),
]


def test_when_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    with caplog.at_level(logging.INFO, "api.unmatched"):
        for now_s, rows, expected in STORY:
            caplog.clear()
            watch.look(rows, now_s)
            errors = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert bool(errors) is expected, now_s
            if now_s == 100.0:
                assert "matched again" in caplog.text
