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
from workers.adapters.waiting import within

logger = logging.getLogger(__name__)

system = Blueprint("system")

# Whoever asks whether we are well gets an answer soon, also when a server has fallen silent.
CHECK_S = 1.0


@system.get("/livez", ctx_counted=False)
async def livez(request: Request) -> HTTPResponse:
    """Answer while the process can answer at all."""
    return json_bytes(dump({"status": "alive"}))


@system.get("/healthz", ctx_counted=False)
async def healthz(request: Request) -> HTTPResponse:
    """Return the state of each dependency; 503 when one that trading needs is down."""
    exchange: Exchange = request.app.ctx.exchange
    postgres, redis = await asyncio.gather(
        _check(exchange.lookups.migrated()), _check(exchange.reader.ping())
    )
    checks = {"postgres": postgres, "redis": redis, "kafka": "disabled"}
    healthy = "unhealthy" not in checks.values()
    body = {
        "status": "healthy" if healthy else "unhealthy",
        "timestamp": timestamp(time.time_ns() // 1000),
        "checks": checks,
    }
    return json_bytes(dump(body), 200 if healthy else 503)


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


async def _check(question: Coroutine[Any, Any, object]) -> str:
    try:
        await within(CHECK_S, question)
    except AdapterError:
        return "unhealthy"
    return "healthy"
