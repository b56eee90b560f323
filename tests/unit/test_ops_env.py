""".env.example: what the settings say, all of it, and nothing that they would refuse."""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ops import env
from workers.settings import Settings

NEEDED = {"DATABASE_URL": "postgresql://db/exchange", "REDIS_URL": "rediss://cache:6379/0"}
EXAMPLE = env.EXAMPLE.read_text(encoding="utf-8")
LINE = re.compile(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)


class Asked(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)


def test_the_file_is_what_the_settings_say() -> None:
    assert env.example() == EXAMPLE, "run `python -m ops env`"


def test_every_variable_that_is_read_is_in_it() -> None:
    asked = Asked(NEEDED | {"KAFKA_BROKERS": "broker:9092"})
    Settings.from_env(asked)
    assert asked.names <= {variable.name for variable in env.variables()}


def test_its_defaults_are_the_defaults() -> None:
    given = dict(LINE.findall(EXAMPLE))
    urls = {name: given[name] for name in NEEDED}
    # An exact copy of all that is commented out changes nothing.
    assert Settings.from_env(given) == Settings.from_env(urls)


def test_its_lines_are_variables_or_comments() -> None:
    for line in EXAMPLE.splitlines():
        assert not line or line.startswith("# ") or line == "#" or LINE.match(line), line
    names = [name for name, _ in LINE.findall(EXAMPLE)]
    assert len(names) == len(set(names))
    assert {"DATABASE_URL", "REDIS_URL", "PORT", "EXCHANGE_ENV"} <= set(names)


def test_other_ways_to_write_settings() -> None:
    """A class besides, values read into variables first, aliases, times and words for flags."""
    text = """
class Other:
    # When.
    at: time = time(0, 30)
    # Who.
    name: str = "x"
    pair: str = ""
    # Whether.
    flag: bool = True
    word: bool = False

    @classmethod
    def from_env(cls, env):
        text = env.get("OTHER_NAME") or env.get("ALIAS", "")
        parts = text.split()
        return cls(
            pair=parts[0] if parts else "",
            at=_time(env, "OTHER_AT", cls.at),
            name=text,
            flag=_choice(env, "OTHER_FLAG", "true", ("true", "false")) == "true",
            word=_flag(env, "OTHER_WORD"),
        )
"""
    found = {
        v.name: (v.default, v.purpose) for v in env.read_from(text) if v.name not in env.BESIDES
    }
    assert found == {
        "OTHER_NAME": ("x", "Who."),
        "ALIAS": ("x", "Who."),
        "OTHER_AT": ("00:30", "When."),
        "OTHER_FLAG": ("true", "Whether."),
        "OTHER_WORD": ("0", "Word."),
    }


def test_the_command_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert env.main(Namespace(output=path)) == 0
    assert path.read_text(encoding="utf-8") == EXAMPLE


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_what_is_needed_is_not_commented_out(name: str) -> None:
    assert re.search(rf"^{name}=\S+$", EXAMPLE, re.MULTILINE)
