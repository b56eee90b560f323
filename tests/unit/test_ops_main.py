"""The command line."""

import importlib

import pytest

from ops.__main__ import COMMANDS, data_first, main


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in COMMANDS)


def test_nothing_to_do_and_unknown_commands_are_usage_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert main(["fly"]) == 2
    assert "No command 'fly'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(COMMANDS[name][0])
    assert callable(module.main)
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert COMMANDS[name][1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "environment", "error"),
    [
        (["url", "postgres"], {}, "Nothing runs on the data folder"),
        (["migrate"], {}, "Nothing runs on the data folder"),
        (["migrate"], {"DATABASE_URL": "mysql://x"}, "must start with postgres://"),
        (["migrate"], {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "Connection refused"),
        (["instruments", "list"], {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "refused"),
        (["instruments", "set", "BTC-USD"], {"DATABASE_URL": "postgresql://x"}, "--tick"),
        (["run"], {"EXCHANGE_ENV": "production"}, "set DATABASE_URL and REDIS_URL"),
        (["run"], {"EXCHANGE_ENV": "production", "REDIS_URL": "redis://x"}, "set DATABASE_URL"),
        (["run"], {"DATABASE_URL": "mysql://x"}, "DATABASE_URL must start with"),
        (["run"], {"EXCHANGE_LEASE_MS": "soon"}, "EXCHANGE_LEASE_MS must be"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    environment: dict[str, str],
    error: str,
    tmp_path: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "EXCHANGE_ENV"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"EXCHANGE_DATA": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert error in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--port", "70000"],
        ["run", "--port", "http"],
        ["url", "kafka"],
        ["instruments"],
        ["instruments", "add", "DOGE-USD", "--tick", "0"],
        ["instruments", "add", "DOGE-USD", "--tick", "NaN"],
        ["deposit", "alice", "USD"],
        ["deposit", "alice", "USD", "-5"],
        ["deposit", "alice", "USD", "five"],
        ["withdraw", "alice", "USD", "0"],
        ["adjust"],
        ["adjust", "alice:USD"],
        ["adjust", "alice:USD:x"],
        ["adjust", "alice::5"],
        ["fees"],
        ["fees", "set", "BTC-USD", "--maker", "1"],
        ["fees", "set", "BTC-USD", "--maker", "1", "--taker", "inf"],
        ["segments", "assign", "vip"],
        ["settle"],
        ["settle", "yesterday"],
        ["settle", "2024-02-30"],
        ["partitions", "make", "--ahead", "x"],
        ["partitions", "detach"],
    ],
)
def test_unusable_arguments_are_usage_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["list"], ["list"]),
        (["add", "x", "--data", "here"], ["--data", "here", "add", "x"]),
        (["--data", "here", "list"], ["--data", "here", "list"]),
        (["list", "--data"], ["list", "--data"]),
    ],
)
def test_the_data_folder_may_be_named_anywhere(given: list[str], read: list[str]) -> None:
    assert data_first(given) == read
