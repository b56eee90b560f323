"""What the documents name is there: links, headings, settings, commands, files, tests, calls."""

import argparse
import contextlib
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

import pytest

from api import asyncapi, openapi
from api.errors import STATUS
from ops.__main__ import COMMANDS, data_first

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "ops" / "docs"
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
by_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
PREFIXES = "EXCHANGE|KAFKA|RATE_LIMIT|REDIS|DATABASE|METRICS|PROMETHEUS|JOBS|LOG|WEB"
SETTING = re.compile(rf"\b(?:{PREFIXES})_[A-Z0-9_]*[A-Z0-9]\b")
FILE = re.compile(r"^(?:api|workers|sql|alembic|tests|ops)/[\w./-]+$")
TEST = re.compile(r"^(?:tests/\w+/)?(test_\w+\.py)(?:::(\w+))?$")


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return FENCE.sub("", read(path))


def spans(path: Path) -> Iterator[str]:
    """Yield each piece of code within the prose, on one line."""
    for match in SPAN.finditer(prose(path)):
        yield " ".join(match[1].split())


def code_lines(path: Path) -> Iterator[str]:
    """Yield the lines of blocks: fenced ones, and those that are indented."""
    for block in FENCE.findall(read(path)):
        yield from block.splitlines()[1:-1]
    yield from (line for line in prose(path).splitlines() if line.startswith("    "))


@cache
def anchors(path: Path) -> set[str]:
    """Return what GitHub makes of a document's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        repeats = sum(1 for known in found if re.fullmatch(rf"{re.escape(name)}(-\d+)?", known))
        found.add(f"{name}-{repeats}" if repeats else name)
    return found


@by_document
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(SPAN.sub("", prose(path))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), target
        assert ROOT in place.parents, target
        assert not anchor or anchor in anchors(place), target


@cache
def known_settings() -> frozenset[str]:
    """Return every name of a setting that stands in the code as a text of its own."""
    sources = [*ROOT.glob("*.json"), *ROOT.glob("*.yml"), ROOT / ".env.example"]
    sources += [path for top in ("api", "workers", "ops") for path in (ROOT / top).rglob("*.py")]
    text = "\n".join(map(read, sources))
    return frozenset(re.findall(rf"""["'#\s](?={SETTING.pattern}["'=:])(\w+)""", text))


@by_document
def test_settings_exist(path: Path) -> None:
    assert set(SETTING.findall(read(path))) <= known_settings()


@by_document
def test_files_and_tests_exist(path: Path) -> None:
    for span in spans(path):
        if FILE.match(span):
            assert (ROOT / span).exists(), span
        if match := TEST.match(span):
            (file,) = (ROOT / "tests").rglob(match[1])
            assert match[2] is None or f"def {match[2]}(" in read(file), span


class Parser(argparse.ArgumentParser):
    """Says what is wrong by an AssertionError."""

    def error(self, message: str) -> NoReturn:
        raise AssertionError(message)


def check_command(line: str, *, complete: bool) -> int:
    """Check what a line calls of ours; return how many calls that were. Raises AssertionError.

    Unless it is `complete`, arguments may be left out, as when a command is only named.
    """
    checked = 0
    for module in re.findall(r"python3? -m ([\w.]+)", line):
        assert importlib.util.find_spec(module), line
    for call in re.finditer(r"(?:python -m ops(?![\w.])|\./ops/(?=run|replay))\s*([^|>]*)", line):
        words = shlex.split(call[1], comments=True)
        if not words or words[0].isupper() or words[0] == "--help":
            continue
        checked += 1
        assert words[0] in COMMANDS, line
        parser = Parser(words[0])
        importlib.import_module(COMMANDS[words[0]][0]).add_arguments(parser)
        try:
            with contextlib.suppress(SystemExit):  # --help
                parser.parse_args(data_first(words[1:]))
        except AssertionError as error:
            if complete or "arguments are required" not in str(error):
                raise AssertionError(f"{line}: {error}") from None
    return checked


@by_document
def test_commands_can_be_called(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in code_lines(path):
        check_command(line, complete=True)
    for span in spans(path):
        check_command(span, complete=False)


@pytest.mark.parametrize(
    "line",
    [
        "python -m ops fly",
        "python -m ops fees set BTC-USD",
        ".venv/bin/python -m ops deposit a USD lots",
        "./ops/run --no-such-option",
        "python -m no.such.module",
    ],
)
def test_commands_that_cannot_be_called_are_noticed(line: str) -> None:
    with pytest.raises((AssertionError, ModuleNotFoundError)):
        check_command(line, complete=True)


def test_commands_are_found() -> None:
    assert sum(check_command(line, complete=True) for line in code_lines(DOCS / "KAFKA.md")) > 2


def test_operations_has_a_table_of_every_command() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", read(DOCS / "OPERATIONS.md"), re.MULTILINE)
    assert dict(rows) == {name: purpose for name, (_, purpose) in COMMANDS.items()}


API = read(DOCS / "API.md")


def test_api_has_every_error() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", API, re.MULTILINE)
    assert {code: int(status) for status, code in rows} == STATUS


@pytest.mark.parametrize("operation", openapi.TABLE, ids=lambda operation: operation.name)
def test_api_has_every_endpoint(operation: openapi.Operation) -> None:
    path = re.escape(operation.path)
    named = {
        "get": rf"^\| .*`{path}`.* \| |`GET {path}`",
        "post": rf"`POST {path}`",
        "delete": rf"`DELETE {path}`",
    }
    assert re.search(named[operation.method], API, re.MULTILINE)
    for parameter in operation.parameters:
        assert re.search(rf"\b{parameter.name}\b", API), parameter.name


def test_api_has_every_message() -> None:
    for _, name, _, _ in asyncapi.rows():
        assert re.search(rf'`{name}`|"type":\s?"{name}"', API), name
