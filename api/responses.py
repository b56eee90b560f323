"""Answers as bytes."""

from collections.abc import Mapping

from sanic import HTTPResponse


def json_bytes(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return encoded JSON as an HTTP answer."""
    return HTTPResponse(
        body, status, dict(headers) if headers else None, content_type="application/json"
    )
