"""Settings: what is assumed, what is refused, and that a refusal says what to set."""

import pytest

from workers.settings import Settings, SettingsError

NEEDED = {"DATABASE_URL": "postgresql://db/exchange", "REDIS_URL": "redis://cache:6379/0"}


def test_defaults() -> None:
    assert Settings.from_env(NEEDED) == Settings(
        database_url="postgresql://db/exchange",
        redis_url="redis://cache:6379/0",
        host="127.0.0.1",
        port=3000,
        web_concurrency=1,
        submit_timeout_ms=5_000,
        lease_ms=2_000,
        batch_length_max=256,
        in_flight_max=4_096,
        log_level="info",
        log_format="auto",
        metrics_port=0,
    )


# (variable, text, setting, value)
READ = [
    ("DATABASE_URL", "postgres://u:p@db:5432/x", "database_url", "postgres://u:p@db:5432/x"),
    ("DATABASE_URL", "postgresql:///x?host=/run", "database_url", "postgresql:///x?host=/run"),
    ("REDIS_URL", "rediss://:p@cache:6380", "redis_url", "rediss://:p@cache:6380"),
    ("REDIS_URL", "unix:///run/valkey.sock", "redis_url", "unix:///run/valkey.sock"),
    ("HOST", "0.0.0.0", "host", "0.0.0.0"),
    ("PORT", "8080", "port", 8080),
    ("PORT", "0", "port", 0),
    ("PORT", "65535", "port", 65_535),
    ("WEB_CONCURRENCY", "4", "web_concurrency", 4),
    ("EXCHANGE_SUBMIT_TIMEOUT_MS", "100", "submit_timeout_ms", 100),
    ("EXCHANGE_LEASE_MS", "60000", "lease_ms", 60_000),
    ("EXCHANGE_BATCH_LENGTH_MAX", "1", "batch_length_max", 1),
    ("EXCHANGE_IN_FLIGHT_MAX", "10", "in_flight_max", 10),
    ("LOG_LEVEL", "debug", "log_level", "debug"),
    ("LOG_LEVEL", "WARNING", "log_level", "warning"),
    ("LOG_FORMAT", "JSON", "log_format", "json"),
    ("LOG_FORMAT", "text", "log_format", "text"),
    ("METRICS_PORT", "9090", "metrics_port", 9090),
    ("EXCHANGE_SNAPSHOT_MS", "1000", "snapshot_ms", 1_000),
    ("EXCHANGE_SNAPSHOTS_KEPT", "1", "snapshots_kept", 1),
    # Set to nothing is not set: platforms and compose files do that.
    ("HOST", "", "host", "127.0.0.1"),
    ("PORT", "", "port", 3000),
    ("LOG_LEVEL", "", "log_level", "info"),
    ("LOG_FORMAT", "", "log_format", "auto"),
    ("METRICS_PORT", "", "metrics_port", 0),
    ("SOMETHING_ELSE", "x", "port", 3000),
]


@pytest.mark.parametrize(("variable", "text", "setting", "value"), READ)
def test_read(variable: str, text: str, setting: str, value: object) -> None:
    settings = Settings.from_env(NEEDED | {variable: text})
    assert getattr(settings, setting) == value


INTEGERS = [
    ("PORT", ["-1", "65536"]),
    ("WEB_CONCURRENCY", ["0", "257"]),
    ("METRICS_PORT", ["-1", "65536"]),
    ("EXCHANGE_SUBMIT_TIMEOUT_MS", ["99", "60001"]),
    ("EXCHANGE_LEASE_MS", ["199", "60001"]),
    ("EXCHANGE_BATCH_LENGTH_MAX", ["0", "4097"]),
    ("EXCHANGE_IN_FLIGHT_MAX", ["0", "1000001"]),
    ("EXCHANGE_SNAPSHOT_MS", ["999", "86400001"]),
    ("EXCHANGE_SNAPSHOTS_KEPT", ["0", "1001"]),
]
NOT_INTEGERS = ["x", " ", "1.5", "1e3", "1_000", "+1000", " 1000", "\uff11", "\u00b2", "9" * 5_000]
BAD = [
    ("DATABASE_URL", ["", "x", "mysql://db", "Postgres://db", " postgres://db", "redis://cache"]),
    ("REDIS_URL", ["", "x", "http://cache", "postgres://db"]),
    ("LOG_LEVEL", ["x", "verbose", "in fo"]),
    ("LOG_FORMAT", ["x", "logfmt"]),
    *((variable, texts + NOT_INTEGERS) for variable, texts in INTEGERS),
]


@pytest.mark.parametrize(
    ("variable", "text"),
    [(variable, text) for variable, texts in BAD for text in texts],
    ids=lambda value: repr(value)[:25].encode("unicode_escape").decode(),
)
def test_a_bad_value_is_refused_by_name(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} "):
        Settings.from_env(NEEDED | {variable: text})


@pytest.mark.parametrize("variable", NEEDED)
def test_a_missing_url_says_what_to_do(variable: str) -> None:
    env = {name: value for name, value in NEEDED.items() if name != variable}
    with pytest.raises(SettingsError, match=rf"^{variable} is not set.*\./ops/run.*{variable}="):
        Settings.from_env(env)


def test_a_refused_url_is_not_repeated() -> None:
    """It holds a password, and errors end in logs."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(NEEDED | {"DATABASE_URL": "mysql://user:hunter2@db/x"})
    assert "hunter2" not in str(refused.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings.from_env(NEEDED).port = 1  # type: ignore[misc]
