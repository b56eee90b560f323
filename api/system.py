"""Whether the exchange is well."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from sanic import Blueprint, HTTPResponse, Request

from api.exchange import Exchange
from api.responses import json_bytes
from api.schemas import dump, timestamp
from api.unmatched import complaints
from workers.adapters.errors import AdapterError
from workers.adapters.kafka_health import reach_broker
from workers.adapters.waiting import within

logger = logging.getLogger(__name__)

system = Blueprint("system")

# Whoever asks whether we are well gets an answer soon, also when a server has fallen silent.
CHECK_S = 1.0
# A mirror that is further behind than this is ill, whatever the reason.
LAG_MAX_S = 10.0


@system.get("/livez", ctx_counted=False)
async def livez(request: Request) -> HTTPResponse:
    """Answer while the process can answer at all."""
    return json_bytes(dump({"status": "alive"}))


@system.get("/healthz", ctx_counted=False)
async def healthz(request: Request) -> HTTPResponse:
    """Return the state of each dependency; 503 when one that trading needs is down."""
    exchange: Exchange = request.app.ctx.exchange
    postgres, redis, (kafka, mirror) = await asyncio.gather(
        _check(exchange.lookups.migrated()),
        _check(exchange.reader.ping()),
        _check_mirror(exchange),
    )
    status = "healthy"
    if "unhealthy" in (postgres, redis):
        status = "unhealthy"
    elif kafka == "unhealthy":
        status = "degraded"  # trading goes on
    body = {
        "status": status,
        "timestamp": timestamp(time.time_ns() // 1000),
        "checks": {"postgres": postgres, "redis": redis, "kafka": kafka},
    }
    if mirror is not None:
        body["mirror"] = mirror
    return json_bytes(dump(body), 503 if status == "unhealthy" else 200)


@system.get("/readyz", ctx_counted=False)
async def readyz(request: Request) -> HTTPResponse:
    """Say yes only when an order could be accepted, else what is missing."""
    exchange: Exchange = request.app.ctx.exchange
    missing = ["this process is stopping"] if exchange.stopping else []
    try:
        if await within(CHECK_S, exchange.lookups.migrated()):
            rows = await within(CHECK_S, exchange.lookups.instruments())
            missing += complaints(rows)
            for name in (instrument.instrument for instrument, matched in rows if matched):
                book = exchange.feed.books.get(name)
                if book is None or book.sequence < 0:
                    missing.append(f"the order book of {name} has not arrived yet")
        else:
            missing.append("migrations are not current: run `python -m ops migrate`")
        await within(CHECK_S, exchange.reader.ping())
    except AdapterError as error:
        missing.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    _log_change(request, missing)
    status = "not ready" if missing else "ready"
    return json_bytes(dump({"status": status, "missing": missing}), 503 if missing else 200)


def _log_change(request: Request, missing: list[str]) -> None:
    """Log that this process became ready, or stopped being so and why."""
    context = request.app.ctx
    if getattr(context, "was_ready", None) != (not missing):
        context.was_ready = not missing
        logger.info("not ready: " + "; ".join(missing) if missing else "ready")


async def _check_mirror(exchange: Exchange) -> tuple[str, list[dict[str, Any]] | None]:
    """Return the state of Kafka, and how far the mirror is behind if there is one and it is known.

    Healthy: a broker accepts connections, and the mirror keeps up.
    """
    if exchange.kafka is None:
        return "disabled", None
    reached, lags = await asyncio.gather(
        _check(reach_broker(exchange.kafka)),
        within(CHECK_S, exchange.lookups.mirror_lags()),
        return_exceptions=True,
    )
    if isinstance(lags, AdapterError):
        return "unhealthy", None
    if isinstance(lags, BaseException):
        raise lags
    if isinstance(reached, BaseException):
        raise reached
    mirror = [
        {"instrument": name, "lag_events": events, "lag_seconds": round(seconds, 3)}
        for name, events, seconds in lags
    ]
    late = any(lag.seconds > LAG_MAX_S for lag in lags)
    return "unhealthy" if late else reached, mirror


async def _check(question: Coroutine[Any, Any, object]) -> str:
    try:
        await within(CHECK_S, question)
    except AdapterError:
        return "unhealthy"
    return "healthy"
