"""What the edge says of itself: counts and durations of requests, and a log line for each."""

import logging
import time
import uuid

from sanic import HTTPResponse, Request
from sanic.constants import HTTP_METHODS

from api.errors import ApiError
from workers.metrics import Metrics

logger = logging.getLogger(__name__)

# Longer names of requests are cut: they are in answers and log lines.
REQUEST_ID_LENGTH_MAX = 128
_METHODS = frozenset(map(str, HTTP_METHODS))


def begin(request: Request) -> None:
    """Look at the clock. Before all else, so that what is refused counts."""
    request.ctx.began = time.perf_counter()


def end(request: Request, response: HTTPResponse) -> None:
    """Count a request, and log it at debug."""
    metrics: Metrics = request.app.ctx.exchange.metrics
    # A request that cannot be read never began.
    seconds = time.perf_counter() - getattr(request.ctx, "began", time.perf_counter())
    # Never what a client made up: each new label value is kept for ever.
    route = f"/{request.route.path}" if request.route else "unknown"
    method = request.method if request.method in _METHODS else "other"
    count_request(metrics, route, method, response.status, seconds)
    if logger.isEnabledFor(logging.DEBUG):
        _log(request, response.status, seconds)


def count_request(metrics: Metrics, route: str, method: str, status: int, seconds: float) -> None:
    """Count a request that was answered."""
    metrics.tally.count(metrics.http_requests(route, method, status))
    metrics.tally.observe(metrics.http_request_seconds(route, method), seconds)


def _log(request: Request, status: int, seconds: float) -> None:
    # The path alone: a query string may hold anything.
    extra: dict[str, object] = {
        "method": request.method,
        "path": request.path,
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
        "request_id": request_id(request),
        "client_address": request.ip,
    }
    order_id = getattr(request.ctx, "order_id", None) or request.match_info.get("order_id")
    if order_id:
        extra["order_id"] = order_id
    logger.debug("%s %s answered %d", request.method, request.path, status, extra=extra)


def request_id(request: Request) -> str:
    """Return the name that the client gave its request, if it is printable ASCII, or a made one."""
    return named(request.headers.get("X-Request-ID"))


def named(given: str | None) -> str:
    """Return the name that a header gave, or a made one."""
    given = (given or "")[:REQUEST_ID_LENGTH_MAX]
    return given if given and given.isascii() and given.isprintable() else str(uuid.uuid4())


def submitted(metrics: Metrics, began: float, error: BaseException | None) -> None:
    """Count a submitted order that ended: how long it took since `began`, or its refusal."""
    # An outcome that nobody knows is no refusal, and it took its time.
    if error is None or (isinstance(error, ApiError) and error.code == "unknown_outcome"):
        metrics.tally.observe(metrics.order_latency, time.perf_counter() - began)
    elif isinstance(error, ApiError):
        metrics.orders_rejected(error.code).inc()
