"""Log lines: their form, that each is one line, and that no secret is in them."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers.logs import JsonFormatter, TextFormatter, masker

ROOT = Path(__file__).parents[2]
DATABASE_URL = "postgresql://trader:hunter2%2Fx@db:5432/exchange"
REDIS_URL = "redis://:s3cr3t@cache:6379/0"


def record(message: object = "hello", *args: object, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("workers.test")
    return logger.makeRecord(
        logger.name, logging.INFO, "file.py", 1, message, args, None, None, extra
    )


def json_line(record: logging.LogRecord, *urls: str) -> dict[str, Any]:
    text = JsonFormatter(masker(*urls), "matcher").format(record)
    assert len(text.splitlines()) == 1
    line = json.loads(text)
    assert isinstance(line, dict)
    return line


def text_line(record: logging.LogRecord, *urls: str) -> str:
    return TextFormatter(masker(*urls)).format(record)


def test_json() -> None:
    made = record("lease %s", "taken", instrument="BTC-USD", epoch=3, held=True, since=0.5)
    made.created = 1_700_000_000.0625
    line = json_line(made)
    assert line.pop("pid") == made.process
    assert line == {
        "time": "2023-11-14T22:13:20.062Z",
        "level": "info",
        "logger": "workers.test",
        "message": "lease taken",
        "role": "matcher",
        "instrument": "BTC-USD",
        "epoch": 3,
        "held": True,
        "since": 0.5,
    }
    assert list(json_line(made))[:4] == ["time", "level", "logger", "message"]


def test_text() -> None:
    made = record("lease %s", "taken", instrument="BTC-USD", epoch=3)
    made.created = 1_700_000_000.0
    assert text_line(made) == (
        "2023-11-14T22:13:20.000Z INFO    workers.test  lease taken instrument=BTC-USD epoch=3"
    )


def test_an_extra_cannot_take_the_place_of_what_a_line_is() -> None:
    line = json_line(record(role="admin", level="debug", time="never", pid=-1))
    assert (line["role"], line["level"]) == ("matcher", "info")
    assert "never" not in line.values()
    assert line["pid"] > 0


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class Text(str):
    __slots__ = ()


ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)

# (an extra, what becomes of it: a value, or None when any text will do)
EXTRAS = [
    (1, 1),
    (None, None),
    (float("nan"), None),
    (1 << 70, str(1 << 70)),
    (b"\x00x", r"b'\x00x'"),
    ("\ud800", r"\ud800"),
    (Text("x"), "x"),
    ({1: {"a": (1, 2)}}, {"1": {"a": [1, 2]}}),
    ({"s": {3}}, {"s": [3]}),
    (Unshowable(), "<Unshowable that cannot be shown>"),
    (ENDLESS, ...),
    ({Unshowable(): 1}, ...),
    (ValueError("x"), "ValueError('x')"),
]


@pytest.mark.parametrize(("value", "shown"), EXTRAS, ids=lambda value: type(value).__name__)
def test_any_extra_is_shown_somehow(value: object, shown: object) -> None:
    line = json_line(record(thing=value))
    assert line["message"] == "hello"
    if shown is not ...:
        assert line["thing"] == shown
    assert "hello" in text_line(record(thing=value))


MESSAGES = [
    ("%d orders", ("many",), "%d orders"),
    ("%s %s", ("one",), "%s %s"),
    ("%s", (Unshowable(),), "%s"),
    (Unshowable(), (), "cannot be shown"),
    (5, (), "5"),
    ("\ud800 %s", ("x",), r"\ud800 x"),
]


@pytest.mark.parametrize(("message", "args", "shown"), MESSAGES, ids=range(len(MESSAGES)))
def test_any_message_is_logged(message: object, args: tuple[object, ...], shown: str) -> None:
    assert shown in json_line(record(message, *args))["message"]
    assert shown in text_line(record(message, *args))


CONTROL = "a\nb\rc\x00d\x1b[31me\x7ff\x85g\u2028h\u2029i\x0bj\x0ck\x1cl\tm"


def test_control_characters_cannot_make_a_line_of_their_own() -> None:
    line = json_line(record(CONTROL, note=CONTROL))
    assert line["message"] == CONTROL
    assert line["note"] == CONTROL
    text = text_line(record(CONTROL, note=CONTROL))
    assert len(text.splitlines()) == 1
    assert re.search(r"[\x00-\x1f\x7f-\x9f]", text) is None


def failing(message: str) -> logging.LogRecord:
    try:
        try:
            raise ConnectionError(message)
        except ConnectionError as error:
            raise RuntimeError("cannot go on") from error
    except RuntimeError:
        made = record("failed")
        made.exc_info = sys.exc_info()
        return made


def test_an_exception_is_in_the_line_with_its_causes() -> None:
    exception = json_line(failing("it broke"))["exception"]
    assert exception.startswith("Traceback")
    assert "ConnectionError: it broke" in exception
    assert exception.endswith("RuntimeError: cannot go on")
    assert text_line(failing("it \x1b broke")).splitlines()[-1] == "RuntimeError: cannot go on"
    assert "\x1b" not in text_line(failing("it \x1b broke"))


# (a text with a secret, the same without)
SECRETS = [
    ("postgres://u:hunter2@db/x", "postgres://u:***@db/x"),
    ("cannot reach redis://:hunter2@cache:6379/0, sorry", None),
    ("postgresql://u:hunter2@here@db/x and rediss://:hunter2/x@c", None),
    ("'postgres://u:hunter2@db' (\"redis://x:hunter2@c\")", None),
    ("host=db user=u password=hunter2 dbname=x", "host=db user=u password=*** dbname=x"),
    ("{'host': 'db', 'password': 'hunter2', 'port': 1}", None),
    ('{"password": "hunter2"}', None),
    ("postgresql:///x?user=u&password=hunter2&host=/run", None),
]


@pytest.mark.parametrize(("text", "masked"), SECRETS)
def test_passwords_are_masked(text: str, masked: str | None) -> None:
    made = failing(text)
    made.msg = text
    vars(made).update(url=text, deep={"urls": [text], text: 1}, error=ConnectionError(text))
    for line in (JsonFormatter(masker(), "web").format(made), text_line(made)):
        assert "hunter2" not in line
        assert "***" in line
    if masked:
        assert json_line(made)["message"] == masked


# Passwords of our own URLs, wherever they are, as written and as meant.
@pytest.mark.parametrize("text", ["auth hunter2%2Fx", "auth hunter2/x failed", "AUTH s3cr3t."])
def test_our_own_passwords_are_masked_without_a_url(text: str) -> None:
    line = json_line(record(text, said=[text]), DATABASE_URL, REDIS_URL)
    assert "hunter2" not in str(line)
    assert "s3cr3t" not in str(line)


# A password that is also a name, or short, would mask half of all words.
@pytest.mark.parametrize(
    "url",
    ["postgresql://exchange:exchange@db/exchange", "redis://:db@cache/0", "redis://c", "[", ""],
)
def test_words_stay_readable(url: str) -> None:
    text = "exchange.orders of db, redis://cache:6379/0, http://web:3000/orders?a=b"
    assert json_line(record(text), url)["message"] == text


PROGRAM = """
import logging, os, warnings
from workers.logs import configure
from workers.settings import Settings

configure(Settings.from_env(os.environ), "jobs")
logging.getLogger("sanic.root").info("from sanic")
logging.getLogger("psycopg.pool").warning("from the pool")
logging.getLogger("workers").debug("not shown")
warnings.warn("beware")
raise ConnectionError("cannot reach redis://:s3cr3t@cache:6379/0")
"""


@pytest.mark.parametrize("form", ["json", "auto", "text"])
def test_everything_a_process_says_has_one_form(form: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM],
        cwd=ROOT,
        env={"DATABASE_URL": DATABASE_URL, "REDIS_URL": REDIS_URL, "LOG_FORMAT": form},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "s3cr3t" not in ended.stderr
    if form == "text":
        assert "INFO    sanic.root  from sanic" in ended.stderr.splitlines()[0]
        return
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [(line["role"], line["level"], line["logger"]) for line in lines] == [
        ("jobs", "info", "sanic.root"),
        ("jobs", "warning", "psycopg.pool"),
        ("jobs", "warning", "py.warnings"),
        ("jobs", "critical", "workers"),
    ]
    assert "redis://:***@cache" in lines[-1]["exception"]
