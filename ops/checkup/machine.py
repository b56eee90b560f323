"""This machine: Python, what is installed, the settings, the port."""

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ops.address import Address, PortTakenError
from ops.checkup.finding import Finding, judge
from ops.errors import OpsError
from workers.settings import Settings, SettingsError

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
PYTHON_MIN, PYTHON_END = (3, 11), (3, 14)
# What the processes stand on. Others come with them.
PACKAGES = (
    "sanic", "redis", "psycopg", "pydantic", "orjson", "alembic", "dramatiq", "prometheus_client",
)  # fmt: skip


def check_python() -> Finding:
    """Check the version of Python."""
    return judge(
        "python",
        PYTHON_MIN <= sys.version_info[:2] < PYTHON_END,
        ".".join(map(str, sys.version_info[:3])),
        "install Python 3.11, 3.12 or 3.13 and remove .venv: ./ops/run makes it anew",
    )


def check_packages(constraints: Path = CONSTRAINTS) -> Finding:
    """Check that the packages are those that were tested together."""
    try:
        lines = constraints.read_text(encoding="utf-8").splitlines()
    except OSError:
        return Finding("packages", "ok", "no list of tested versions here")
    tested = dict(line.lower().split("==") for line in lines if "==" in line)
    other = []
    for name in PACKAGES:
        wanted = tested.get(name, tested.get(name.replace("_", "-")))
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if wanted is not None and found != wanted:
            other.append(f"{name} {found}, not {wanted}")
    return judge(
        "packages",
        not other,
        "; ".join(other) or "as tested",
        "install the tested versions: pip install -c ops/constraints.txt .",
        "warning",
    )


def check_settings(env: Mapping[str, str], urls: Mapping[str, str]) -> tuple[Finding, Settings]:
    """Check the environment. `urls` hold for what it leaves open.

    When it cannot be used, the settings are the defaults.
    """
    stand_ins = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}
    try:
        settings = Settings.from_env({**stand_ins, **urls, **env})
    except SettingsError as error:
        settings = Settings.from_env({**stand_ins, **urls})
        return Finding("settings", "problem", str(error), "see .env.example"), settings
    return Finding("settings", "ok", env.get("EXCHANGE_ENV") or "development"), settings


def check_port(host: str, port: int) -> Finding:
    """Check that the port is free, or that what listens there is the exchange and ready."""
    where = f"{host}:{port}"
    try:
        Address.claim(host, port)
    except PortTakenError:
        missing = Address(host, port).missing()
        return judge(
            "port",
            missing is None,
            f"the exchange is ready at {where}" if missing is None else f"{where}: {missing}",
            "if that is the exchange, start what is missing; else set PORT to a free one",
        )
    except OpsError as error:
        return Finding("port", "problem", str(error), "set HOST and PORT to what may be used")
    return Finding("port", "ok", f"{where} is free")


def check_servers(env: Mapping[str, str], urls: Mapping[str, str]) -> Finding:
    """Check that the servers are known: given, or those of an exchange that runs here."""
    missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not env.get(name)]
    if not missing:
        return Finding("servers", "ok", "given by DATABASE_URL and REDIS_URL")
    if env.get("EXCHANGE_ENV", "").lower() == "production":
        return Finding(
            "servers",
            "problem",
            f"{' and '.join(missing)} not set",
            "production has no embedded servers: set them to servers of yours",
        )
    return judge(
        "servers",
        all(name in urls for name in missing),
        "those of the exchange that runs here" if urls else f"{' and '.join(missing)} not set",
        "start the exchange with ./ops/run, name its folder with --data, or set them",
    )
