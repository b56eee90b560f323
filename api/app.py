"""The composition root of the edge."""

import asyncio
import gc
import logging
import uuid
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path

from sanic import Sanic

from api import middleware
from api.books import Book
from api.candles import candles
from api.docs import docs
from api.exchange import Exchange
from api.express import Express
from api.feed import Feed
from api.history import History
from api.instruments import Instruments
from api.limits import Limiter
from api.listing import listing
from api.market import market
from api.metrics import Exporter, exporter
from api.orders import BATCH_BYTES_MAX, orders
from api.pages import pages
from api.positions import positions
from api.prefork import parent_gone
from api.relay import FINISH_S_MAX, Relay
from api.snapshots import snapshots
from api.stream import stream
from api.submit import Submitter
from api.system import system
from api.tickers import Tickers
from workers.adapters.failpoints import Failpoints
from workers.adapters.limits import RateLimits
from workers.adapters.lookups import Lookups
from workers.adapters.past import Past
from workers.adapters.pubsub import DepthReader, Publisher
from workers.adapters.streams import StreamLags, StreamWriter
from workers.metrics import Metrics
from workers.metrics_folder import MetricsFolder, join
from workers.settings import Settings

logger = logging.getLogger(__name__)

# Before a task that did not end is cancelled once more.
CANCEL_S = 0.5

# Objects made, and not freed, between looks for cycles.
GC_OBJECTS = 50_000

# Sanic's own defaults (100 MB bodies, a minute for everything) invite to be abused.
LIMITS = {
    "REQUEST_MAX_SIZE": BATCH_BYTES_MAX,  # the largest there is; see check_body
    "REQUEST_MAX_HEADER_SIZE": 8 * 1024,
    "REQUEST_TIMEOUT": 10,
    "RESPONSE_TIMEOUT": 75,  # above the longest submit timeout: our own answer comes first
    "KEEP_ALIVE_TIMEOUT": 75,
    "GRACEFUL_SHUTDOWN_TIMEOUT": 10.0,
    "WEBSOCKET_MAX_SIZE": 64 * 1024,
    "WEBSOCKET_PING_INTERVAL": 20,
    "WEBSOCKET_PING_TIMEOUT": 20,
    "ACCESS_LOG": False,
    "FALLBACK_ERROR_FORMAT": "json",
    "MOTD": False,
    "TOUCHUP": True,
}


def create_app(
    settings: Settings,
    metrics_folder: Path,
    parent_pid: int | None = None,
    failpoints: Failpoints | None = None,
) -> Sanic:  # type: ignore[type-arg]
    """Return the edge, not serving yet; it connects when the server starts.

    It stops when the process `parent_pid`, which started it as one of several, is gone.
    """
    around = (failpoints or Failpoints()).around
    app = Sanic("exchange", configure_logging=False)
    app.config.update(LIMITS)
    app.ctx.failed = False
    app.ctx.origins = settings.origins
    app.ctx.allowed_hosts = settings.allowed_hosts
    app.ctx.address_connections_max = (
        0 if settings.proxies_count else settings.address_connections_max
    )
    app.ctx.addresses = Counter()
    app.config.PROXIES_COUNT = settings.proxies_count
    app.blueprint(
        [orders, listing, market, candles, positions, snapshots, stream, system, exporter]
    )
    app.blueprint([docs, pages])
    middleware.add_to(app)

    @app.before_server_start
    async def start(app: Sanic) -> None:  # type: ignore[type-arg]
        join(metrics_folder)
        metrics = Metrics()
        for order_type, side in product(("limit", "market"), ("buy", "sell")):
            metrics.orders_received(order_type, side)  # there from the start, at 0
        edge_id = uuid.uuid4().hex
        lookups = around(
            "lookups", Lookups(settings.database_url, settings.database_connections_max)
        )
        await lookups.open()
        replica = None
        if settings.database_read_url:
            replica = Lookups(settings.database_read_url, settings.database_connections_max)
            await replica.open()
        past = Past(lookups, replica)
        instruments = Instruments(lookups)
        writer = around(
            "writer",
            StreamWriter(settings.redis_url, settings.stream_waiting_max, settings.key_ttl_ms),
        )
        reader = around("reader", DepthReader(settings.redis_url))
        publisher = around("publisher", Publisher(settings.redis_url))
        limits = around(
            "limits",
            RateLimits(
                settings.redis_url, settings.rate_limit_window_ms, settings.rate_limit_requests_max
            ),
        )
        submitter = Submitter(
            edge_id=edge_id,
            writer=writer,
            lookups=lookups,
            timeout_ms=settings.submit_timeout_ms,
            in_flight_max=settings.in_flight_max,
            metrics=metrics,
        )
        books: dict[str, Book] = {}
        histories: dict[str, History] = {}
        relay = Relay(
            books,
            histories,
            lookups,
            metrics,
            settings.slow_client_ms,
            settings.address_websockets_max,
        )
        feed = Feed(
            edge_id=edge_id,
            redis_url=settings.redis_url,
            reader=reader,
            publisher=publisher,
            lookups=lookups,
            instruments=instruments,
            submitter=submitter,
            relay=relay,
            books=books,
            histories=histories,
            metrics=metrics,
        )
        lags = StreamLags(settings.redis_url)
        app.ctx.exchange = Exchange(
            submitter=submitter,
            lookups=lookups,
            past=past,
            instruments=instruments,
            feed=feed,
            reader=reader,
            tickers=Tickers(lookups),
            limiter=Limiter(limits, metrics, behind_proxies=settings.proxies_count > 0),
            relay=relay,
            metrics=metrics,
            kafka=settings.kafka,
        )
        app.ctx.express = Express(app.ctx.exchange, settings.allowed_hosts)
        app.ctx.exporter = Exporter(app.ctx.exchange, MetricsFolder(metrics_folder), lags)
        app.ctx.connections = [
            app.ctx.exporter,
            lags,
            feed,
            submitter,
            writer,
            publisher,
            reader,
            limits,
            past,
            lookups,
        ]
        app.ctx.background = [
            asyncio.create_task(work)
            for work in (instruments.run(), feed.run(), feed.beat(), relay.run())
        ]
        for task in app.ctx.background:
            task.add_done_callback(partial(end_with_error, app))
        # What is there from the start stays: the collector need not look at it again and again. And
        # it looks less often: of an order's thousand objects hardly one is part of a cycle.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_OBJECTS, *gc.get_threshold()[1:])
        if parent_pid is not None:
            orphaned = asyncio.create_task(parent_gone(parent_pid))
            orphaned.add_done_callback(lambda _: app.stop())
            app.ctx.background.append(orphaned)

    @app.before_server_stop
    async def drain(app: Sanic) -> None:  # type: ignore[type-arg]
        """Leave nobody without an answer; everything still runs, and the port is still open."""
        exchange: Exchange = app.ctx.exchange
        exchange.stopping = True
        logger.info("stopping")
        await asyncio.sleep(settings.drain_ms / 1000)
        await exchange.submitter.finish()
        if exchange.tasks:
            await asyncio.wait(exchange.tasks, timeout=FINISH_S_MAX)
        await exchange.relay.close()

    @app.after_server_stop
    async def stop(app: Sanic) -> None:  # type: ignore[type-arg]
        # Again and again: a driver that is in the middle of a command may swallow the first one.
        while pending := [task for task in app.ctx.background if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=CANCEL_S)
        for connection in app.ctx.connections:
            await connection.close()

    return app


def end_with_error(app: Sanic, task: "asyncio.Task[None]") -> None:  # type: ignore[type-arg]
    """End the process when a background task ends: without it the edge would serve lies."""
    if not task.cancelled():
        logger.critical("a background task ended", exc_info=task.exception())
        app.ctx.failed = True
        app.stop()
