"""The composition root of the edge."""

import asyncio
import logging
import uuid
from functools import partial
from itertools import product
from pathlib import Path

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import SanicException

from api.errors import ApiError
from api.exchange import Exchange
from api.feed import Feed
from api.instruments import Instruments
from api.market import market
from api.metrics import Exporter, metrics
from api.observe import observe_requests, request_id
from api.orders import orders
from api.responses import json_bytes
from api.schemas import dump
from api.submit import Submitter
from api.system import system
from workers.adapters.errors import AdapterError
from workers.adapters.lookups import Lookups
from workers.adapters.pubsub import DepthReader
from workers.adapters.streams import StreamLags, StreamWriter
from workers.logs import configure
from workers.metrics import Metrics
from workers.metrics_folder import MetricsFolder, join
from workers.settings import Settings

logger = logging.getLogger(__name__)

# Connections to PostgreSQL per web process: small plans allow about 20 in all.
DATABASE_CONNECTIONS_MAX = 4

# Sanic's own defaults (100 MB bodies, a minute for everything) invite to be abused.
LIMITS = {
    "REQUEST_MAX_SIZE": 16 * 1024,
    "REQUEST_MAX_HEADER_SIZE": 8 * 1024,
    "REQUEST_TIMEOUT": 10,
    "RESPONSE_TIMEOUT": 75,  # above the longest submit timeout: our own answer comes first
    "KEEP_ALIVE_TIMEOUT": 75,
    "GRACEFUL_SHUTDOWN_TIMEOUT": 10.0,
    "ACCESS_LOG": False,
    "FALLBACK_ERROR_FORMAT": "json",
    "MOTD": False,
    "TOUCHUP": True,
}

CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    503: "unavailable",
}


def load_app(settings: Settings, metrics_folder: Path) -> Sanic:  # type: ignore[type-arg]
    """Set a web process up. Here, because each of several behind one port looks it up by name."""
    configure(settings, "web")
    return create_app(settings, metrics_folder)


def create_app(settings: Settings, metrics_folder: Path) -> Sanic:  # type: ignore[type-arg]
    """Return the edge, not serving yet; it connects when the server starts."""
    app = Sanic("exchange", configure_logging=False)
    app.config.update(LIMITS)
    app.blueprint([orders, market, system, metrics])
    app.error_handler.add(Exception, answer_error)
    observe_requests(app)
    app.on_request(require_json)

    @app.before_server_start
    async def start(app: Sanic) -> None:  # type: ignore[type-arg]
        join(metrics_folder)
        app.ctx.metrics = Metrics()
        for order_type, side in product(("limit", "market"), ("buy", "sell")):
            app.ctx.metrics.orders_received(order_type, side)  # there from the start, at 0
        edge_id = uuid.uuid4().hex
        lookups = Lookups(settings.database_url, DATABASE_CONNECTIONS_MAX)
        await lookups.open()
        instruments = Instruments(lookups)
        writer = StreamWriter(settings.redis_url)
        reader = DepthReader(settings.redis_url)
        submitter = Submitter(
            edge_id=edge_id,
            writer=writer,
            lookups=lookups,
            timeout_ms=settings.submit_timeout_ms,
            in_flight_max=settings.in_flight_max,
        )
        feed = Feed(
            edge_id=edge_id,
            redis_url=settings.redis_url,
            reader=reader,
            instruments=instruments,
            submitter=submitter,
        )
        app.ctx.exchange = Exchange(submitter, lookups, instruments, feed, reader)
        app.ctx.writer = writer
        app.ctx.lags = StreamLags(settings.redis_url)
        app.ctx.exporter = Exporter(app.ctx.exchange, MetricsFolder(metrics_folder), app.ctx.lags)
        app.ctx.background = [
            asyncio.create_task(instruments.run()),
            asyncio.create_task(feed.run()),
        ]
        for task in app.ctx.background:
            task.add_done_callback(partial(end_with_error, app))

    @app.before_server_stop
    async def stopping(app: Sanic) -> None:  # type: ignore[type-arg]
        logger.info("stopping")

    @app.after_server_stop
    async def stop(app: Sanic) -> None:  # type: ignore[type-arg]
        for task in app.ctx.background:
            task.cancel()
        await asyncio.gather(*app.ctx.background, return_exceptions=True)
        exchange: Exchange = app.ctx.exchange
        await exchange.submitter.close()
        await app.ctx.exporter.close()
        await app.ctx.lags.close()
        await app.ctx.writer.close()
        await exchange.reader.close()
        await exchange.lookups.close()

    return app


def end_with_error(app: Sanic, task: "asyncio.Task[None]") -> None:  # type: ignore[type-arg]
    """End the process when a background task ends: without it the edge would serve lies."""
    if not task.cancelled():
        logger.critical("a background task ended", exc_info=task.exception())
        app.stop()


async def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON."""
    if request.body and not request.content_type.lower().startswith("application/json"):
        raise ApiError(
            "unsupported_media_type", "send the body as JSON: Content-Type: application/json"
        )


async def answer_error(request: Request, error: Exception) -> HTTPResponse:
    """Answer any error in the one public shape; never a stack trace."""
    known = _as_api_error(error)
    name = request_id(request)
    if known.status == 500:
        logger.error("request failed", exc_info=error, extra={"request_id": name})
    return json_bytes(dump(known.body(name)), known.status, known.headers)


def _as_api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, AdapterError):
        logger.warning("%s", error)
        return ApiError("unavailable", "the database does not answer: try again shortly")
    if isinstance(error, SanicException):
        code = CODES.get(error.status_code)
        if code is not None:
            return ApiError(code, str(error))
        if 400 <= error.status_code < 500:
            return ApiError("invalid_request", str(error))
    return ApiError("internal_error", "something went wrong here; it has been logged")
