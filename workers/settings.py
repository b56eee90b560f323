"""Settings, read once from the environment in a composition root and passed on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode


class SettingsError(Exception):
    """Raised when an environment variable is missing or cannot be used; says what to set."""


@dataclass(frozen=True)
class Settings:
    """Everything that may differ between two deployments.

    Names follow what platforms set (`PORT`, `DATABASE_URL`, `REDIS_URL`); our own variables start
    with `EXCHANGE_`. Durations are milliseconds.
    """

    # PostgreSQL 15 or newer, as a user who may make tables.
    database_url: str
    # Redis 7 or newer, or Valkey; rediss:// for TLS.
    redis_url: str
    # A read replica for history and statistics; empty: they are read from DATABASE_URL, too.
    database_read_url: str = ""
    # Connections to PostgreSQL, and as many to its replica, per web process. Small plans allow
    # about 20 in all.
    database_connections_max: int = 4
    # The address to listen on.
    host: str = "127.0.0.1"
    # The port of the web processes; 0: any free one.
    port: int = 3000
    # Web processes behind that port.
    web_concurrency: int = 1
    # How long an edge waits for the matcher's reply before it looks into PostgreSQL itself.
    submit_timeout_ms: int = 5_000
    # How long a dead matcher keeps its instruments; a standby takes over after this.
    lease_ms: int = 2_000
    # Entries per commit: bounds the work lost on a failed commit and the latency of the last one.
    batch_length_max: int = 256
    # Entries an edge may have waiting for a reply: bounds its memory; more is answered with 503.
    in_flight_max: int = 4_096
    # Entries that may wait in an instrument's stream: more would not be answered in time.
    stream_waiting_max: int = 10_000
    # How long Redis remembers an idempotency key. PostgreSQL does so for ever: this only spares it.
    key_ttl_ms: int = 60_000
    # Requests that one client, and one address, may make per window.
    rate_limit_window_ms: int = 60_000
    # 10,000 in production, unless it is set.
    rate_limit_requests_max: int = 1_000_000
    # Reverse proxies in front of us whose X-Forwarded-For we believe; 0 believes nobody.
    proxies_count: int = 0
    # Pages of other origins that may open a WebSocket from a browser, as `https://example.com`.
    origins: tuple[str, ...] = ()
    # How long a WebSocket client that fell behind may take to catch up before it is closed.
    slow_client_ms: int = 30_000
    # After SIGTERM: how long we go on serving while load balancers see that we are not ready.
    drain_ms: int = 0
    # debug, info, warning or error.
    log_level: str = "info"
    # auto: text in a terminal, else json.
    log_format: str = "auto"
    # Where the matcher serves its metrics; 0: nowhere.
    metrics_port: int = 0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings, or raise SettingsError naming the variable and the remedy."""
        production = _choice(env, "EXCHANGE_ENV", "development", ENVIRONMENTS) == "production"
        return cls(
            database_url=_url(env, "DATABASE_URL", POSTGRES_SCHEMES),
            redis_url=_redis_url(env),
            database_read_url=_url(env, "DATABASE_READ_URL", POSTGRES_SCHEMES, needed=False),
            database_connections_max=_integer(
                env, "EXCHANGE_DATABASE_CONNECTIONS_MAX", cls.database_connections_max, 2, 1_000
            ),
            host=env.get("HOST") or cls.host,
            port=_integer(env, "PORT", cls.port, 0, 65_535),
            web_concurrency=_integer(env, "WEB_CONCURRENCY", cls.web_concurrency, 1, 256),
            submit_timeout_ms=_integer(
                env, "EXCHANGE_SUBMIT_TIMEOUT_MS", cls.submit_timeout_ms, 100, 60_000
            ),
            lease_ms=_integer(env, "EXCHANGE_LEASE_MS", cls.lease_ms, 200, 60_000),
            batch_length_max=_integer(
                env, "EXCHANGE_BATCH_LENGTH_MAX", cls.batch_length_max, 1, 4_096
            ),
            in_flight_max=_integer(env, "EXCHANGE_IN_FLIGHT_MAX", cls.in_flight_max, 1, 1_000_000),
            stream_waiting_max=_integer(
                env, "EXCHANGE_STREAM_WAITING_MAX", cls.stream_waiting_max, 1, 10_000_000
            ),
            key_ttl_ms=_integer(env, "EXCHANGE_KEY_TTL_MS", cls.key_ttl_ms, 1_000, 86_400_000),
            rate_limit_window_ms=_integer(
                env, "RATE_LIMIT_WINDOW_MS", cls.rate_limit_window_ms, 1_000, 86_400_000
            ),
            rate_limit_requests_max=_integer(
                env,
                "RATE_LIMIT_MAX_REQUESTS",
                RATE_LIMIT_PRODUCTION if production else cls.rate_limit_requests_max,
                1,
                100_000_000,
            ),
            proxies_count=_integer(env, "EXCHANGE_PROXIES_COUNT", cls.proxies_count, 0, 16),
            origins=tuple(env.get("EXCHANGE_ORIGINS", "").replace(",", " ").split()),
            slow_client_ms=_integer(
                env, "EXCHANGE_SLOW_CLIENT_MS", cls.slow_client_ms, 100, 3_600_000
            ),
            drain_ms=_integer(env, "EXCHANGE_DRAIN_MS", cls.drain_ms, 0, 60_000),
            log_level=_choice(env, "LOG_LEVEL", cls.log_level, LOG_LEVELS),
            log_format=_choice(env, "LOG_FORMAT", cls.log_format, LOG_FORMATS),
            metrics_port=_integer(env, "METRICS_PORT", cls.metrics_port, 0, 65_535),
        )


ENVIRONMENTS = ("development", "production")
# In development replays and benchmarks come from one address; in production nobody needs as much.
RATE_LIMIT_PRODUCTION = 10_000
POSTGRES_SCHEMES = ("postgres://", "postgresql://")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "text")


def _url(
    env: Mapping[str, str], name: str, schemes: tuple[str, ...], *, needed: bool = True
) -> str:
    url = env.get(name, "")
    if not url:
        if not needed:
            return ""
        raise SettingsError(
            f"{name} is not set. Start everything with ./ops/run (it brings its own servers), "
            f"or set {name}={schemes[0]}..."
        )
    if not url.startswith(schemes):
        raise SettingsError(f"{name} must start with {' or '.join(schemes)}")
    return url


def _redis_url(env: Mapping[str, str]) -> str:
    """Return REDIS_URL with what it takes to trust the server's certificate.

    Redis of a platform is often reached through TLS with a certificate that it signed itself.
    The driver and the broker of the jobs read these parameters from the URL.
    """
    url = _url(env, "REDIS_URL", REDIS_SCHEMES)
    verify = _choice(env, "REDIS_TLS_VERIFY", "1", ("0", "1")) == "1"
    ca = env.get("REDIS_CA", "")
    if ca and not verify:
        raise SettingsError("REDIS_CA is of no use with REDIS_TLS_VERIFY=0: unset one of them")
    if not url.startswith("rediss://"):
        return url
    if ca:
        # Certificates themselves, as platforms give them, or the path of a file.
        parameters = {"ssl_ca_data" if "-----BEGIN " in ca else "ssl_ca_certs": ca}
    elif not verify:
        parameters = {"ssl_cert_reqs": "none", "ssl_check_hostname": "false"}
    else:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters, quote_via=quote)}"


def _integer(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise SettingsError(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _choice(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    text = env.get(name, "").lower()
    if not text:
        return default
    if text not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return text
