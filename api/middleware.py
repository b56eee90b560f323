"""What every request goes through: limits, checks of its body, and the one shape of errors."""

import logging

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import MethodNotAllowed, SanicException

from api.errors import ApiError, internal_error, public_error
from api.exchange import Exchange
from api.limits import rate_headers
from api.responses import json_bytes
from api.schemas import dump
from workers.adapters.errors import AdapterError

logger = logging.getLogger(__name__)

# Of every request but those that say otherwise.
BODY_BYTES_MAX = 16 * 1024

METHODS = ("GET", "POST", "DELETE")
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
    app.on_request(admit)
    app.on_request(check_body)
    app.on_response(add_rate_headers)  # type: ignore[no-untyped-call]


async def admit(request: Request) -> None:
    """Count a request against the limits of its address. Raises ApiError (429).

    Orders count for their client, too: their handlers do it when they know whose they are. Those
    who watch over the process are not counted.
    """
    route = request.route
    if route is not None and not getattr(route.ctx, "counts_itself", False):
        exchange: Exchange = request.app.ctx.exchange
        await exchange.limiter.admit(request)


async def check_body(request: Request) -> None:
    """Refuse a body that is too long for its route, or not declared as JSON."""
    if not request.body:
        return
    most = getattr(request.route.ctx, "body_bytes_max", BODY_BYTES_MAX) if request.route else 0
    if len(request.body) > most:
        raise ApiError("payload_too_large", f"send at most {most} bytes")
    if not request.content_type.lower().startswith("application/json"):
        raise ApiError(
            "unsupported_media_type", "send the body as JSON: Content-Type: application/json"
        )


async def add_rate_headers(request: Request, response: HTTPResponse) -> None:
    """Say what is left of the limits."""
    response.headers.update(rate_headers(request))


async def answer_error(request: Request, error: Exception) -> HTTPResponse:
    """Answer any error in the one public shape; never a stack trace."""
    known = _as_api_error(error)
    if known.status == 500:
        logger.error("request %s failed", request.id, exc_info=error)
    headers = known.headers
    if isinstance(error, MethodNotAllowed):
        headers |= {"Allow": _allowed(request)}
    body = known.body() | {"request_id": str(request.id)}
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
