"""Every refusal the public can see: status, code, message."""

import logging
from dataclasses import dataclass, field
from typing import Any

from workers.adapters.errors import AdapterError, TimedOut

logger = logging.getLogger(__name__)

STATUS = {
    "invalid_request": 400,
    "host_not_allowed": 403,
    "origin_not_allowed": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "order_id_conflict": 409,
    "idempotency_conflict": 409,
    "order_finished": 409,
    "request_timeout": 408,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "internal_error": 500,
    "unavailable": 503,
    "overloaded": 503,
    "unknown_outcome": 504,
}
RETRY_AFTER_S = 1


@dataclass
class ApiError(Exception):
    """Raised anywhere in the edge to answer with an error of the one public shape."""

    code: str
    message: str
    # Of a 400: every offending field, as {"msg", "param", "location"}.
    errors: list[dict[str, str]] = field(default_factory=list)
    # Further members of the answer: the order of a 409, the order_id of a 504.
    extra: dict[str, Any] = field(default_factory=dict)
    # When to come back, where the answer says so.
    retry_after_s: int = RETRY_AFTER_S

    @property
    def status(self) -> int:
        return STATUS[self.code]

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)} if self.status in (429, 503) else {}

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON."""
        body: dict[str, Any] = {"error": self.code, "message": self.message}
        if self.errors:
            body["errors"] = self.errors
        return body | self.extra


def public_error(error: ApiError | AdapterError) -> ApiError:
    """Return what the public is told of `error`."""
    if isinstance(error, ApiError):
        return error
    logger.warning("%s", error)
    if isinstance(error, TimedOut):
        return ApiError(
            "unavailable",
            "this takes longer than one request may: ask for a shorter range, or try again later",
        )
    return ApiError("unavailable", "the database does not answer: try again shortly")


def internal_error() -> ApiError:
    """Return the 500 for a bug of ours; whoever uses it logs what happened."""
    return ApiError("internal_error", "something went wrong here; it has been logged")


def invalid(param: str, message: str, location: str = "body") -> ApiError:
    """Return the 400 for one offending field."""
    return ApiError(
        "invalid_request",
        f"{param} {message}",
        [{"msg": message, "param": param, "location": location}],
    )


def unknown_order(order_id: str) -> ApiError:
    return ApiError("not_found", f"there is no order {order_id}: check the order_id")


def unknown_client(client_id: str) -> ApiError:
    return ApiError(
        "not_found",
        f"there is no client {client_id}: a client is known from its first order, check the name",
    )


def unknown_instrument(instrument: str, known: list[str]) -> ApiError:
    return ApiError(
        "not_found", f"there is no instrument {instrument}: use one of {', '.join(known)}"
    )
