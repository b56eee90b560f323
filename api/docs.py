"""The API about itself: the index, the two documents, and a page that shows them.

Who asks for the index and is a browser gets a page instead: see pages.py.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from string import Template

import orjson
from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound

from api import asyncapi, openapi
from api.responses import json_bytes
from api.schemas import dump

docs = Blueprint("docs")

# In the path, because the files of one version never change.
SWAGGER_UI = "swagger-ui-5.35.0"
# Folder of the path, file, content type. Nothing else is served.
FILES = (
    ("static", "docs.js", "text/javascript; charset=utf-8"),
    ("static", "docs.css", "text/css; charset=utf-8"),
    (SWAGGER_UI, "swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    (SWAGGER_UI, "swagger-ui.css", "text/css; charset=utf-8"),
    (SWAGGER_UI, "favicon-32x32.png", "image/png"),
    (SWAGGER_UI, "LICENSE", "text/plain; charset=utf-8"),
    (SWAGGER_UI, "NOTICE", "text/plain; charset=utf-8"),
    (SWAGGER_UI, "swagger-ui-bundle.js.LICENSE.txt", "text/plain; charset=utf-8"),
)

# A deploy may change these, so clients look again after a minute.
SHORT = {"Cache-Control": "public, max-age=60", "X-Content-Type-Options": "nosniff"}
LONG = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}
# Nothing from elsewhere, nothing inline. Swagger UI has its icons as data.
PAGE = SHORT | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

LINKS = {
    "status": "/status",
    "orders": "/orders",
    "instruments": "/instruments",
    "orderbook": "/market/orderbook",
    "trades": "/market/trades",
    "stream": asyncapi.PATH,
    "health": "/healthz",
    "metrics": "/metrics",
    "openapi": "/openapi.json",
    "asyncapi": "/asyncapi.json",
    "docs": "/docs",
}


@dataclass(frozen=True)
class Documents:
    """What is served here, as bytes. `files`: by path, with content type."""

    index: bytes
    openapi: bytes
    asyncapi: bytes
    page: bytes
    files: Mapping[tuple[str, str], tuple[bytes, str]]


def build() -> Documents:
    """Return everything; takes some tens of milliseconds, so once per process."""
    version = metadata.version("trade-engine")
    return Documents(
        index=dump(
            {
                "name": "Trade engine",
                "version": version,
                "description": "A trading exchange over HTTP and WebSocket.",
                "links": LINKS,
            }
        ),
        openapi=dump(openapi.document(version)),
        asyncapi=dump(asyncapi.document(version)),
        page=_page().encode(),
        files={
            (folder, name): (_read(folder, name), content_type)
            for folder, name, content_type in FILES
        },
    )


@docs.before_server_start
async def start(app: Sanic) -> None:  # type: ignore[type-arg]
    app.ctx.documents = build()


@docs.get("/openapi.json", name="openapi", ctx_counted=False)
async def read_openapi(request: Request) -> HTTPResponse:
    """Return the description of the HTTP API."""
    return json_bytes(_documents(request).openapi, headers=SHORT)


@docs.get("/asyncapi.json", name="asyncapi", ctx_counted=False)
async def read_asyncapi(request: Request) -> HTTPResponse:
    """Return the description of the WebSocket."""
    return json_bytes(_documents(request).asyncapi, headers=SHORT)


@docs.get("/docs", name="page", ctx_counted=False)
async def read_page(request: Request) -> HTTPResponse:
    """Show the API to humans."""
    body = _documents(request).page
    return HTTPResponse(body, headers=PAGE, content_type="text/html; charset=utf-8")


@docs.get("/docs/<folder:str>/<name:str>", name="file", ctx_counted=False)
async def read_file(request: Request, folder: str, name: str) -> HTTPResponse:
    """Return a file that the page uses."""
    file = _documents(request).files.get((folder, name))
    if file is None:
        raise NotFound("there is no such file: start at /docs")
    body, content_type = file
    return HTTPResponse(
        body, headers=LONG if folder == SWAGGER_UI else SHORT, content_type=content_type
    )


def index(request: Request) -> HTTPResponse:
    """Say what there is, to a program."""
    return json_bytes(_documents(request).index, headers=SHORT | {"Vary": "Accept"})


def _documents(request: Request) -> Documents:
    documents: Documents = request.app.ctx.documents
    return documents


def _read(folder: str, name: str) -> bytes:
    static = resources.files("api") / "static"
    return ((static / "swagger-ui" if folder == SWAGGER_UI else static) / name).read_bytes()


def _page() -> str:
    template = Template(_read("static", "docs.html").decode())
    return template.substitute(
        vendored=f"/docs/{SWAGGER_UI}",
        path=asyncapi.PATH,
        subscribe=_code(asyncapi.INWARD[0].example),
        notes="\n".join(
            f"<li><b>{html.escape(name)}</b>: {html.escape(note)}</li>"
            for name, note in asyncapi.NOTES.items()
        ),
        rows="\n".join(
            f"<tr><td>{way}</td><td><code>{name}</code></td><td>{_text(about)}"
            + (f"<pre>{_code(example)}</pre>" if example else "")
            + "</td></tr>"
            for way, name, about, example in asyncapi.rows()
        ),
    )


def _text(about: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(about))


def _code(example: object) -> str:
    return html.escape(orjson.dumps(example).decode(), quote=False)
