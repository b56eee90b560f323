"""Settings: what is assumed, what is refused, and that a refusal says what to set."""

from datetime import time

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
    ("DATABASE_READ_URL", "postgres://replica/x", "database_read_url", "postgres://replica/x"),
    ("EXCHANGE_DATABASE_CONNECTIONS_MAX", "2", "database_connections_max", 2),
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
    ("EXCHANGE_SETTLE_AT", "00:00", "settle_at", time(0, 0)),
    ("EXCHANGE_SETTLE_AT", "23:59", "settle_at", time(23, 59)),
    ("EXCHANGE_SETTLE_AT", "", "settle_at", time(0, 0)),
    ("EXCHANGE_STATEMENTS_DIR", "/statements", "statements_dir", "/statements"),
    ("EXCHANGE_RECONCILE_MS", "86400000", "reconcile_ms", 86_400_000),
    ("EXCHANGE_JOBS_THREADS", "2", "jobs_threads", 2),
    ("JOBS_QUEUES", "jobs,mirror", "jobs_queues", ("jobs", "mirror")),
    ("JOBS_QUEUES", "", "jobs_queues", ()),
    ("EXCHANGE_HOSTS", "Exchange.example, other", "hosts", ("exchange.example", "other")),
    ("EXCHANGE_INSECURE", "1", "insecure", True),
    ("EXCHANGE_INSECURE", "0", "insecure", False),
    ("EXCHANGE_ADDRESS_WEBSOCKETS_MAX", "7", "address_websockets_max", 7),
    ("EXCHANGE_ADDRESS_CONNECTIONS_MAX", "7", "address_connections_max", 7),
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
    ("EXCHANGE_DATABASE_CONNECTIONS_MAX", ["1", "1001"]),
    ("PORT", ["-1", "65536"]),
    ("WEB_CONCURRENCY", ["0", "257"]),
    ("METRICS_PORT", ["-1", "65536"]),
    ("EXCHANGE_SUBMIT_TIMEOUT_MS", ["99", "60001"]),
    ("EXCHANGE_LEASE_MS", ["199", "60001"]),
    ("EXCHANGE_BATCH_LENGTH_MAX", ["0", "4097"]),
    ("EXCHANGE_IN_FLIGHT_MAX", ["0", "1000001"]),
    ("EXCHANGE_SNAPSHOT_MS", ["999", "86400001"]),
    ("EXCHANGE_SNAPSHOTS_KEPT", ["0", "1001"]),
    ("EXCHANGE_RECONCILE_MS", ["999", "1000000000"]),
    ("EXCHANGE_PARTITIONS_MS", ["999", "86400001"]),
    ("EXCHANGE_JOBS_THREADS", ["0", "65"]),
    ("EXCHANGE_JOB_LEASE_MS", ["999", "600001"]),
    ("EXCHANGE_JOB_HINT_MS", ["499", "600001"]),
    ("EXCHANGE_CLOCK_MS", ["49", "60001"]),
]
NOT_INTEGERS = ["x", " ", "1.5", "1e3", "1_000", "+1000", " 1000", "\uff11", "\u00b2", "9" * 5_000]
BAD = [
    ("DATABASE_URL", ["", "x", "mysql://db", "Postgres://db", " postgres://db", "redis://cache"]),
    ("REDIS_URL", ["", "x", "http://cache", "postgres://db"]),
    ("DATABASE_READ_URL", ["x", "mysql://db"]),
    ("REDIS_TLS_VERIFY", ["x", "no", "2"]),
    ("LOG_LEVEL", ["x", "verbose", "in fo"]),
    ("LOG_FORMAT", ["x", "logfmt"]),
    (
        "EXCHANGE_SETTLE_AT",
        ["24:00", "0:00", "00:60", "midnight", "00:00:00", "00:00 ", "\uff10\uff10:00"],
    ),
    ("EXCHANGE_INSECURE", ["true", "yes", "2"]),
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


@pytest.mark.parametrize(
    ("host", "insecure", "welcome"),
    [
        ("127.0.0.1", "", True),
        ("127.1.2.3", "", True),
        ("::1", "", True),
        ("localhost", "", True),
        ("0.0.0.0", "", False),
        ("::", "", False),
        ("10.0.0.1", "0", False),
        ("exchange.example", "", False),
        ("0.0.0.0", "1", True),
    ],
)
def test_strangers_are_let_in_only_on_purpose(host: str, insecure: str, welcome: bool) -> None:
    settings = Settings.from_env(NEEDED | {"HOST": host, "EXCHANGE_INSECURE": insecure})
    if welcome:
        settings.check_listening()
    else:
        with pytest.raises(SettingsError, match=r"EXCHANGE_INSECURE=1 .*HOST=127\.0\.0\.1"):
            settings.check_listening()


@pytest.mark.parametrize(
    ("host", "hosts", "allowed"),
    [
        ("127.0.0.1", "", {"localhost", "127.0.0.1", "::1"}),
        ("127.0.0.1", "a.example", {"localhost", "127.0.0.1", "::1", "a.example"}),
        ("0.0.0.0", "", None),
        ("0.0.0.0", "a.example", {"a.example"}),
    ],
)
def test_names_we_may_be_asked_under(host: str, hosts: str, allowed: set[str] | None) -> None:
    settings = Settings.from_env(NEEDED | {"HOST": host, "EXCHANGE_HOSTS": hosts})
    assert settings.allowed_hosts == allowed


# (REDIS_URL, REDIS_TLS_VERIFY, REDIS_CA, what the driver gets)
TLS = [
    ("rediss://r:1", "", "", "rediss://r:1"),
    ("rediss://r:1", "1", "", "rediss://r:1"),
    ("rediss://r:1", "0", "", "rediss://r:1?ssl_cert_reqs=none&ssl_check_hostname=false"),
    ("rediss://r:1/2?x=1", "", "/a b.pem", "rediss://r:1/2?x=1&ssl_ca_certs=%2Fa%20b.pem"),
    ("redis://r:1", "0", "", "redis://r:1"),
    ("redis://r:1", "", "/a.pem", "redis://r:1"),
]


@pytest.mark.parametrize(("url", "verify", "ca", "result"), TLS)
def test_redis_tls(url: str, verify: str, ca: str, result: str) -> None:
    env = NEEDED | {"REDIS_URL": url, "REDIS_TLS_VERIFY": verify, "REDIS_CA": ca}
    assert Settings.from_env(env).redis_url == result


def test_a_certificate_that_nobody_would_look_at() -> None:
    with pytest.raises(SettingsError, match="REDIS_CA is of no use with REDIS_TLS_VERIFY=0"):
        Settings.from_env(NEEDED | {"REDIS_TLS_VERIFY": "0", "REDIS_CA": "/a.pem"})


# (REDIS_URL, REDIS_CLUSTER_NODES, what the adapters get)
CLUSTERS = [
    ("redis://a:1/0", "", "redis://a:1/0"),
    ("redis://a:1?cluster=1", "", "redis://a:1?cluster=1"),
    ("redis://a:1/0", "b:2, c:3", "redis://a:1/0?cluster=1&nodes=b%3A2%2C%20c%3A3"),
]


@pytest.mark.parametrize(("url", "others", "result"), CLUSTERS)
def test_a_cluster_of_redis(url: str, others: str, result: str) -> None:
    env = NEEDED | {"REDIS_URL": url, "REDIS_CLUSTER_NODES": others}
    assert Settings.from_env(env).redis_url == result


@pytest.mark.parametrize(
    ("url", "others", "said"),
    [
        ("redis://a:1/0", "b", "must be host:port"),
        ("redis://a:1/0", "b:2,", "must be host:port"),
        ("redis://a:1/2", "b:2", "a cluster has one database"),
        ("redis://a:1/2?cluster=1", "", "a cluster has one database"),
    ],
)
def test_clusters_that_cannot_be(url: str, others: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.from_env(NEEDED | {"REDIS_URL": url, "REDIS_CLUSTER_NODES": others})
