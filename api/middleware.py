"""What every request goes through: limits, checks of its body, and the one shape of errors."""

import logging
from typing import TypeVar
from urllib.parse import urlsplit

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import MethodNotAllowed, SanicException

from api import observe
from api.errors import ApiError, internal_error, public_error
from api.exchange import Exchange
from api.limits import rate_headers
from api.responses import json_bytes
from api.schemas import dump
from workers.adapters.errors import AdapterError

logger = logging.getLogger(__name__)

Setting = TypeVar("Setting")

# Of every request but those that say otherwise.
BODY_BYTES_MAX = 16 * 1024

METHODS = ("GET", "POST", "DELETE")
# Methods that change nothing.
READING = ("GET", "HEAD", "OPTIONS")
CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    503: "unavailable",
}


def add_to(app: Sanic) -> None:  # type: ignore[type-arg]
    """Let every request of `app` go through it."""
    app.error_handler.add(Exception, answer_error)
    app.on_request(enter)
    app.on_response(leave)  # type: ignore[no-untyped-call]


async def enter(request: Request) -> None:
    """Do what comes before every handler. Raises ApiError.

    Requests count against the limits of their address, but for routes declared with
    `ctx_counted=False`: orders count for their client, too, so their handlers do it when they know
    whose they are; and operations are never limited.
    """
    observe.begin(request)
    check_host(request)
    if request.method not in READING:
        check_origin(request)
    exchange: Exchange = request.app.ctx.exchange
    if request.route and request.route.extra.websocket:
        if exchange.stopping:
            raise ApiError("unavailable", "this process is stopping: connect again")
        if not exchange.relay.has_room(exchange.limiter.address(request)):
            raise ApiError("rate_limited", "too many WebSockets from this address: close some")
    counted = _route_says(request, "counted", True)
    if counted:
        await exchange.limiter.admit(request)
    try:
        check_body(request)
    except ApiError:
        if not counted:
            await exchange.limiter.admit(request)
        raise


async def leave(request: Request, response: HTTPResponse) -> None:
    """Do what comes after every answer, refusals included."""
    response.headers.update(rate_headers(request))
    if request.app.ctx.exchange.stopping and request.stream is not None:
        # Else clients with always one more request would keep us from ending.
        request.stream.keep_alive = False  # type: ignore[attr-defined]
    observe.end(request, response)


def check_host(request: Request) -> None:
    """Refuse a request for a name that is not ours. Clients that send no name are no browsers."""
    allowed: frozenset[str] | None = request.app.ctx.allowed_hosts
    host = request.headers.get("Host")
    if allowed is None or host is None or host_name(host) in allowed:
        return
    raise ApiError(
        "host_not_allowed", "this is not who you asked for: see EXCHANGE_HOSTS, or use 127.0.0.1"
    )


def check_origin(request: Request) -> None:
    """Refuse what a page of another origin wants to change.

    Browsers let any page send a POST without a body anywhere, loopback included. They only keep the
    answer from it, and that is too late.
    """
    if not is_our_page(request):
        raise ApiError(
            "origin_not_allowed", "a page of another origin may not do this: see EXCHANGE_ORIGINS"
        )


def is_our_page(request: Request) -> bool:
    """Tell whether a browser's page, if it is one, comes from here or from where it may come."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        host = urlsplit(origin).netloc
    except ValueError:  # "http://["
        return False
    return host == request.headers.get("Host") or origin in request.app.ctx.origins


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def check_body(request: Request) -> None:
    """Refuse a body that is too long for its route, or not declared as JSON."""
    if not request.body:
        return
    most = _route_says(request, "body_bytes_max", BODY_BYTES_MAX)
    if len(request.body) > most:
        raise ApiError("payload_too_large", f"send at most {most} bytes")
    if not is_json(request.content_type):
        raise ApiError(
            "unsupported_media_type", "send the body as JSON: Content-Type: application/json"
        )


def is_json(content_type: str) -> bool:
    """Tell whether a Content-Type says JSON."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _route_says(request: Request, name: str, default: Setting) -> Setting:
    """Return what a route was declared with (`ctx_<name>=`), also when there is no route."""
    value: Setting = getattr(request.route.ctx, name, default) if request.route else default
    return value


async def answer_error(request: Request, error: Exception) -> HTTPResponse:
    """Answer any error in the one public shape; never a stack trace."""
    known = _as_api_error(error)
    name = observe.request_id(request)
    if known.status == 500:
        logger.error("request failed", exc_info=error, extra={"request_id": name})
    headers = known.headers
    if isinstance(error, MethodNotAllowed):
        headers |= {"Allow": _allowed(request)}
    body = known.body() | {"request_id": name}
    return json_bytes(dump(body), known.status, headers)


def _allowed(request: Request) -> str:
    """Return the methods that the path of a 405 has. Sanic itself does not always know them."""
    methods = []
    for method in METHODS:
        try:
            request.app.router.get(request.path, method, request.headers.get("host"))
        except SanicException:
            continue
        methods.append(method)
    return ", ".join(methods)


def _as_api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError | AdapterError):
        return public_error(error)
    if isinstance(error, SanicException):
        code = CODES.get(error.status_code)
        if code is not None:
            return ApiError(code, str(error))
        if 400 <= error.status_code < 500:
            return ApiError("invalid_request", str(error))
    return internal_error()
