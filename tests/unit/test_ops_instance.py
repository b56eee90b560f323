"""The data folder: one run at a time, and what it says of itself."""

import os
from pathlib import Path

import pytest

from ops.embedded.passwords import password
from ops.errors import OpsError
from ops.instance import Instance, default_folder

HOME = str(Path.home())


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"EXCHANGE_DATA": "/srv/exchange", "XDG_DATA_HOME": "/x"}, "/srv/exchange"),
        ({"XDG_DATA_HOME": "/x"}, "/x/trade-engine"),
        ({}, f"{HOME}/.local/share/trade-engine"),
    ],
)
def test_default_folder(env: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_folder(env) == Path(folder)


def test_default_folder_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_folder({"XDG_DATA_HOME": "/x"}) == Path("/var/lib/trade-engine")


def test_second_run_is_refused_and_told_where_the_first_is(tmp_path: Path) -> None:
    with Instance(tmp_path / "data").locked():
        Instance(tmp_path / "data").describe({"http_url": "http://127.0.0.1:3000"})
        with (
            pytest.raises(OpsError, match=r"already runs .*http://127\.0\.0\.1:3000"),
            Instance(tmp_path / "data").locked(),
        ):
            pass


def test_description_is_private_and_gone_after_the_run(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "data")
    with instance.locked():
        instance.describe({"postgres_url": "postgresql://"})
        assert (instance.data / "instance.json").stat().st_mode & 0o777 == 0o600
        assert instance.address_of("postgres") == "postgresql://"
    assert not (instance.data / "instance.json").exists()


def test_description_of_a_run_that_was_killed_counts_for_nothing(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    (tmp_path / "lock").touch()
    instance.describe({"postgres_url": "postgresql://"})
    with pytest.raises(OpsError, match="Nothing runs"):
        instance.address_of("postgres")


def test_nothing_runs_on_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert Instance(tmp_path / "none").running() is None
    assert not (tmp_path / "none").exists()


def test_passwords_are_made_once_differ_and_are_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = password(path, "postgres")
    assert len(first) >= 32
    assert password(path, "valkey") != first
    assert password(path, "postgres") == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_unreadable_password_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("{")
    with pytest.raises(OpsError, match=r"secrets\.json"):
        password(path, "postgres")
    assert path.read_text() == "{"
