"""Log lines: one format for every process and every library, one line a message, no secrets.

JSON where a program reads (an object per line: time, level, logger, message, role, pid, whatever
`extra` a call gave, and the text of an exception), and text where a person does. Formatting never
fails: what cannot be encoded is shown as its repr.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from workers.settings import Settings

MASK = "***"
# The password of a URL, up to the last @ of the word: a password may hold an @ of its own. And the
# forms in which drivers write connections down: password=x, 'password': 'x'.
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*):[^\s\"'<>]+@")
_FIELD = re.compile(r"(password['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s&,'\")]+)", re.IGNORECASE)
# Shorter ones would be found everywhere.
_SECRET_LENGTH_MIN = 4

# Control characters, and what else readers take for a new line, escaped as JSON does it.
_CONTROL = {
    number: f"\\u{number:04x}" for number in (*range(32), *range(127, 160), 0x2028, 0x2029)
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_CONTROL_BUT_NEWLINES = {number: text for number, text in _CONTROL.items() if number != ord("\n")}

_DEPTH_MAX = 6
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}


def configure(settings: Settings, role: str) -> None:
    """Write the log lines of this process, which plays `role`, to standard error.

    Everything goes through the one handler: the libraries' loggers have none of their own.
    """
    mask = masker(settings.database_url, settings.redis_url)
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter(mask) if as_text else JsonFormatter(mask, role))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    # The drivers' own chatter helps nobody who reads ours.
    for name in ("psycopg", "psycopg.pool", "asyncio", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def masker(*urls: str) -> Callable[[str], str]:
    """Return what hides secrets in a text: any URL's password, and those of `urls` wherever."""
    secrets = sorted({secret for url in urls for secret in _secrets(url)}, key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, secrets))) if secrets else None

    def mask(text: str) -> str:
        if "://" in text:
            text = _URL.sub(rf"\1:{MASK}@", text)
        if "password" in text.lower():
            text = _FIELD.sub(rf"\1{MASK}", text)
        return known.sub(MASK, text) if known else text

    return mask


def _secrets(url: str) -> set[str]:
    """Return the password of a URL: as written, as meant, and as Python would quote it.

    One that is also the user's or the database's name is left out: it hides nothing, and masking
    it would make half of all lines unreadable.
    """
    try:
        parts = urlsplit(url)
        password = parts.password or ""
        public = {parts.username, parts.hostname, parts.path.strip("/")}
    except ValueError:
        return set()
    forms = {password, unquote(password), repr(unquote(password))[1:-1]}
    return {text for text in forms if len(text) >= _SECRET_LENGTH_MIN and text not in public}


class Formatter(logging.Formatter):
    """What both forms share: messages, extras and tracebacks as clean text."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._mask = mask

    def _message(self, record: logging.LogRecord) -> str:
        try:
            return self._text(record.getMessage())
        except Exception:  # arguments that do not fit, or that cannot be shown
            return self._text(f"{_show(record.msg)} {_show(record.args)}")

    def _extras(self, record: logging.LogRecord) -> dict[str, Any]:
        return {
            self._text(name): self._clean(value)
            for name, value in vars(record).items()
            if name not in _STANDARD
        }

    def _exception(self, record: logging.LogRecord) -> str | None:
        try:
            text = record.exc_text or ""
            if record.exc_info and record.exc_info[0]:
                text = self.formatException(record.exc_info)
            if record.stack_info:
                text += f"\n{record.stack_info}"
        except Exception as error:  # an exception whose own text cannot be made
            text = f"{_show(record.exc_info)} ({type(error).__name__} while showing it)"
        return self._text(text.strip("\n")) or None

    def _clean(self, value: object, depth: int = 0) -> Any:
        """Return `value` as something that JSON can hold, without secrets."""
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int and abs(value) < 1 << 53:
            return value
        if isinstance(value, str):
            return self._text(value)
        if depth < _DEPTH_MAX and isinstance(value, Mapping):
            return {
                self._text(str(name)): self._clean(item, depth + 1) for name, item in value.items()
            }
        if depth < _DEPTH_MAX and isinstance(value, (list, tuple, set, frozenset)):
            return [self._clean(item, depth + 1) for item in value]
        return self._text(_show(value))

    def _text(self, text: str) -> str:
        # A lone half of a surrogate pair is no Unicode, and no encoder takes it.
        return self._mask(str(text).encode("utf-8", "backslashreplace").decode())


class JsonFormatter(Formatter):
    """One JSON object a line."""

    def __init__(self, mask: Callable[[str], str], role: str) -> None:
        super().__init__(mask)
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; never raises."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._message(record),
            "role": self._role,
            "pid": record.process,
        }
        try:
            extras = self._extras(record)
        except Exception as error:
            extras = {"extra": f"cannot be shown: {type(error).__name__}"}
        # What a line is, is not an extra's to say.
        line = extras | line
        line = {name: line.pop(name) for name in _FIRST} | line
        exception = self._exception(record)
        if exception:
            line["exception"] = exception
        return orjson.dumps(line).decode().translate(_CONTROL)


_FIRST = ("time", "level", "logger", "message", "role", "pid")


class TextFormatter(Formatter):
    """A line to read; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; never raises."""
        words = [_time(record), f"{record.levelname:<7}", f"{record.name} ", self._message(record)]
        try:
            words += [f"{name}={value}" for name, value in self._extras(record).items()]
        except Exception as error:
            words.append(f"(extras cannot be shown: {type(error).__name__})")
        line = " ".join(words).translate(_CONTROL)
        exception = self._exception(record)
        return f"{line}\n{exception.translate(_CONTROL_BUT_NEWLINES)}" if exception else line


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def _show(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Log what ends the process; Python's own way prints it over many lines, secrets included."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("workers").critical("ended by an error", exc_info=(kind, error, trace))
