"""Settings, read once from the environment in a composition root and passed on."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode, urlsplit


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
    # Redis 7 or newer, or Valkey; rediss:// for TLS; `?cluster=1` for a Redis Cluster.
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
    # Pages of other origins that may open a WebSocket or cancel from a browser, as
    # `https://example.com`.
    origins: tuple[str, ...] = ()
    # Names under which browsers may ask for us; see `allowed_hosts`.
    hosts: tuple[str, ...] = ()
    # Listen where others reach us, although anybody who does may trade in any client's name.
    insecure: bool = False
    # Open connections, and WebSockets among them, that one address may have per web process. Each
    # costs a descriptor and some memory, whatever it asks. Not counted behind proxies.
    address_connections_max: int = 1_000
    address_websockets_max: int = 500
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
    # When the day before is settled (UTC).
    settle_at: time = time(0, 0)
    # Where settlement writes each client's statement; empty: nowhere.
    statements_dir: str = ""
    # Reconciliation reads everything there is: about 40 s per million trades.
    reconcile_ms: int = 3_600_000
    # Partitions are made an hour or more before they are needed; should none be, commits make them.
    partitions_ms: int = 3_600_000
    # Jobs that one process runs at a time, each with its own connection to PostgreSQL.
    jobs_threads: int = 8
    # How long a job stays taken after the process that ran it has died.
    job_lease_ms: int = 15_000
    # How long the clock waits for a worker before it sends another message: Redis may have lost it.
    job_hint_ms: int = 15_000
    # How often the clock looks for what is due.
    clock_ms: int = 1_000
    # The queues that a jobs process works on; empty: all of them.
    jobs_queues: tuple[str, ...] = ()
    # How often each instrument's book and engine are kept.
    snapshot_ms: int = 60_000
    # Engine snapshots kept per instrument: the newest is used, the others stand in if it is broken.
    snapshots_kept: int = 3
    # How often the mirror looks whether an idle instrument has events again.
    mirror_ms: int = 1_000
    # None: there is no mirror.
    kafka: "KafkaSettings | None" = None

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
            hosts=tuple(env.get("EXCHANGE_HOSTS", "").lower().replace(",", " ").split()),
            insecure=_flag(env, "EXCHANGE_INSECURE"),
            address_connections_max=_integer(
                env, "EXCHANGE_ADDRESS_CONNECTIONS_MAX", cls.address_connections_max, 1, 1_000_000
            ),
            address_websockets_max=_integer(
                env, "EXCHANGE_ADDRESS_WEBSOCKETS_MAX", cls.address_websockets_max, 1, 1_000_000
            ),
            slow_client_ms=_integer(
                env, "EXCHANGE_SLOW_CLIENT_MS", cls.slow_client_ms, 100, 3_600_000
            ),
            drain_ms=_integer(env, "EXCHANGE_DRAIN_MS", cls.drain_ms, 0, 60_000),
            log_level=_choice(env, "LOG_LEVEL", cls.log_level, LOG_LEVELS),
            log_format=_choice(env, "LOG_FORMAT", cls.log_format, LOG_FORMATS),
            metrics_port=_integer(env, "METRICS_PORT", cls.metrics_port, 0, 65_535),
            settle_at=_time_of_day(env, "EXCHANGE_SETTLE_AT", cls.settle_at),
            statements_dir=env.get("EXCHANGE_STATEMENTS_DIR", ""),
            reconcile_ms=_integer(
                env, "EXCHANGE_RECONCILE_MS", cls.reconcile_ms, 1_000, 999_999_999
            ),
            partitions_ms=_integer(
                env, "EXCHANGE_PARTITIONS_MS", cls.partitions_ms, 1_000, 86_400_000
            ),
            jobs_threads=_integer(env, "EXCHANGE_JOBS_THREADS", cls.jobs_threads, 1, 64),
            job_lease_ms=_integer(env, "EXCHANGE_JOB_LEASE_MS", cls.job_lease_ms, 1_000, 600_000),
            job_hint_ms=_integer(env, "EXCHANGE_JOB_HINT_MS", cls.job_hint_ms, 500, 600_000),
            clock_ms=_integer(env, "EXCHANGE_CLOCK_MS", cls.clock_ms, 50, 60_000),
            jobs_queues=tuple(env.get("JOBS_QUEUES", "").replace(",", " ").split()),
            snapshot_ms=_integer(env, "EXCHANGE_SNAPSHOT_MS", cls.snapshot_ms, 1_000, 86_400_000),
            snapshots_kept=_integer(env, "EXCHANGE_SNAPSHOTS_KEPT", cls.snapshots_kept, 1, 1_000),
            mirror_ms=_integer(env, "EXCHANGE_MIRROR_MS", cls.mirror_ms, 100, 60_000),
            kafka=KafkaSettings.from_env(env),
        )

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """The names under which we may be asked; None for any.

        On loopback a browser must not be led here under another name: pages of the internet could
        trade through whoever looks at them, by a name of theirs that resolves to 127.0.0.1.
        """
        if is_loopback(self.host):
            return LOOPBACK_NAMES.union(self.hosts)
        return frozenset(self.hosts) or None

    def check_listening(self) -> None:
        """Raise SettingsError when we would listen where strangers reach us, unless told to."""
        if not self.insecure and not is_loopback(self.host):
            raise SettingsError(
                f"HOST={self.host} lets everybody who can reach it trade in anybody's name: there "
                "is no authentication. Set EXCHANGE_INSECURE=1 when something in front keeps "
                "strangers out, or HOST=127.0.0.1"
            )


@dataclass(frozen=True)
class KafkaSettings:
    """How to reach Kafka, and what our topics are like there.

    `brokers` are `host:port`, comma-separated. Certificates and the key are PEM text.
    """

    brokers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_ca: str = field(default="", repr=False)
    ssl_certificate: str = field(default="", repr=False)
    ssl_key: str = field(default="", repr=False)
    # Off where brokers have certificates of other names, as on some platforms.
    ssl_check_hostname: bool = True
    # Put before the name of each topic, where several tenants share a Kafka.
    topic_prefix: str = ""
    # Of topics that we make. All of an instrument is in one partition, so this is how many
    # consumers can share the work.
    partitions: int = 6
    # 0: three, or as many as there are brokers.
    replication_factor: int = 0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self | None:
        """Read the settings; None when KAFKA_BROKERS is not set. Raises SettingsError."""
        text = env.get("KAFKA_BROKERS", "")
        brokers = [broker for broker in text.replace(",", " ").split() if broker]
        if not brokers:
            return None
        # Platforms give URLs: kafka://host:port and kafka+ssl://host:port.
        encrypted = any(broker.startswith(("kafka+ssl://", "ssl://")) for broker in brokers)
        brokers = [broker.rpartition("://")[2].rstrip("/") for broker in brokers]
        for broker in brokers:
            host, _, port = broker.rpartition(":")
            if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
                raise SettingsError(
                    f"KAFKA_BROKERS must be host:port, comma-separated, not {broker!r}"
                )
        ssl_ca = _pem(env, "KAFKA_SSL_CA", "KAFKA_TRUSTED_CERT")
        ssl_certificate = _pem(env, "KAFKA_SSL_CERT", "KAFKA_CLIENT_CERT")
        ssl_key = _pem(env, "KAFKA_SSL_KEY", "KAFKA_CLIENT_CERT_KEY")
        username = env.get("KAFKA_SASL_USERNAME", "")
        password = env.get("KAFKA_SASL_PASSWORD", "")
        if bool(username) != bool(password):
            raise SettingsError("Set both KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, or neither")
        if bool(ssl_certificate) != bool(ssl_key):
            raise SettingsError("Set both KAFKA_SSL_CERT and KAFKA_SSL_KEY, or neither")
        if username:
            default = "SASL_SSL"
        else:
            default = "SSL" if encrypted or ssl_ca or ssl_certificate else "PLAINTEXT"
        protocol = _choice(env, "KAFKA_SECURITY_PROTOCOL", default.lower(), KAFKA_PROTOCOLS).upper()
        if protocol.startswith("SASL") and not username:
            raise SettingsError(
                f"KAFKA_SECURITY_PROTOCOL={protocol} needs KAFKA_SASL_USERNAME and "
                "KAFKA_SASL_PASSWORD"
            )
        prefix = env.get("KAFKA_TOPIC_PREFIX") or env.get("KAFKA_PREFIX", "")
        if not re.fullmatch(r"[A-Za-z0-9._-]{0,200}", prefix):
            raise SettingsError("KAFKA_TOPIC_PREFIX may only hold letters, digits and . _ -")
        return cls(
            brokers=",".join(brokers),
            security_protocol=protocol,
            sasl_mechanism=_choice(env, "KAFKA_SASL_MECHANISM", "plain", KAFKA_MECHANISMS).upper()
            if username
            else "",
            sasl_username=username,
            sasl_password=password,
            ssl_ca=ssl_ca,
            ssl_certificate=ssl_certificate,
            ssl_key=ssl_key,
            ssl_check_hostname=_choice(env, "KAFKA_SSL_CHECK_HOSTNAME", "true", ("true", "false"))
            == "true",
            topic_prefix=prefix,
            partitions=_integer(env, "KAFKA_PARTITIONS", cls.partitions, 1, 10_000),
            replication_factor=_integer(
                env, "KAFKA_REPLICATION_FACTOR", cls.replication_factor, 0, 100
            ),
        )


LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


ENVIRONMENTS = ("development", "production")
# In development replays and benchmarks come from one address; in production nobody needs as much.
RATE_LIMIT_PRODUCTION = 10_000
KAFKA_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
KAFKA_MECHANISMS = ("plain", "scram-sha-256", "scram-sha-512")
POSTGRES_SCHEMES = ("postgres://", "postgresql://")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
NODE = re.compile(r"[^,\s]+:[0-9]{1,5}")
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
    if others := env.get("REDIS_CLUSTER_NODES", ""):
        if not all(NODE.fullmatch(node.strip()) for node in others.split(",")):
            raise SettingsError("REDIS_CLUSTER_NODES must be host:port, several parted by commas")
        url = _with_parameters(url, {"cluster": "1", "nodes": others})
    parts = urlsplit(url)
    if "cluster=1" in parts.query.split("&") and parts.path not in ("", "/", "/0"):
        raise SettingsError("REDIS_URL must end with /0 or nothing: a cluster has one database")
    if not url.startswith("rediss://"):
        return url
    if ca:
        # Certificates themselves, as platforms give them, or the path of a file.
        parameters = {"ssl_ca_data" if "-----BEGIN " in ca else "ssl_ca_certs": ca}
    elif not verify:
        parameters = {"ssl_cert_reqs": "none", "ssl_check_hostname": "false"}
    else:
        return url
    return _with_parameters(url, parameters)


def _with_parameters(url: str, parameters: Mapping[str, str]) -> str:
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


def _time_of_day(env: Mapping[str, str], name: str, default: time) -> time:
    text = env.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text, re.ASCII):
        raise SettingsError(f"{name} must be a time from 00:00 to 23:59 (UTC), not {text!r}")
    return time.fromisoformat(text)


def _pem(env: Mapping[str, str], name: str, alias: str) -> str:
    """Return a certificate or a key: the text itself, as platforms give it, or a file's."""
    text = env.get(name) or env.get(alias, "")
    if not text or "-----BEGIN " in text:
        # Where a variable holds one line only, line ends are written out.
        return text.replace("\\n", "\n")
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{name} must be PEM text or the path of a file with it: {error}"
        ) from error


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "")
    if text not in ("", "0", "1"):
        raise SettingsError(f"{name} must be 1 or 0, not {text!r}")
    return text == "1"
