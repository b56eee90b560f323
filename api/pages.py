"""The pages for people, trading at `/` and the exchange's state at `/status`, and their files.

The pages use the public API and nothing else. Everything is read once, when the process starts;
serving is a look-up.
"""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from string import Template

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.exceptions import InvalidHeader, NotFound

from api.docs import LONG, PAGE, index

pages = Blueprint("pages")

# Folders of api/static that hold files of these pages, and what their files are.
FOLDERS = ("shared", "trade", "status", "lightweight-charts")
TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
# Smaller files cost a round trip either way.
GZIP_BYTES_MIN = 1_024

# Asked for again each time, and mostly answered with 304: the page names the files it goes with.
CHECKED = PAGE | {"Cache-Control": "no-cache"}


@dataclass(frozen=True)
class File:
    """What is served: as it is, and compressed if that is worth it. Both have one (weak) ETag."""

    body: bytes
    gzipped: bytes | None
    content_type: str
    etag: str

    @classmethod
    def of(cls, body: bytes, content_type: str) -> "File":
        """Return the file with this content."""
        etag = f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'
        gzipped = gzip.compress(body, mtime=0) if len(body) >= GZIP_BYTES_MIN else None
        return cls(body, gzipped, content_type, etag)

    def answer(self, request: Request, headers: Mapping[str, str]) -> HTTPResponse:
        """Return the answer to a request for it; 304 to who has it already."""
        headers = {**headers, "ETag": self.etag, "Vary": "Accept, Accept-Encoding"}
        known = request.headers.get("If-None-Match", "")
        if self.etag in map(str.strip, known.split(",")):
            return HTTPResponse(status=304, headers=headers)
        body = self.body
        if self.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = self.gzipped
            headers["Content-Encoding"] = "gzip"
        return HTTPResponse(body, headers=headers, content_type=self.content_type)


@dataclass(frozen=True)
class Pages:
    """The pages, and their files by folder and name. `version` changes with any of them."""

    trade: File
    status: File
    version: str
    files: Mapping[tuple[str, str], File]


def build() -> Pages:
    """Return everything; takes some tens of milliseconds, so once per process."""
    static = resources.files("api") / "static"
    found = dict(_read(static))
    digest = hashlib.sha256()
    for (folder, name), body in sorted(found.items()):
        digest.update(f"{folder}/{name} {len(body)} ".encode() + body)
    version = digest.hexdigest()[:12]

    def page(name: str) -> File:
        template = Template((static / "pages" / f"{name}.html").read_text("utf-8"))
        return File.of(template.substitute(static=f"/static/{version}").encode(), HTML)

    files = {
        (folder, name): File.of(body, TYPES.get(name.rpartition(".")[2], TEXT))
        for (folder, name), body in found.items()
    }
    return Pages(page("trade"), page("status"), version, files)


def _read(static: Traversable) -> Iterator[tuple[tuple[str, str], bytes]]:
    for folder in FOLDERS:
        for entry in (static / folder).iterdir():
            if entry.is_file():
                yield (folder, entry.name), entry.read_bytes()


@pages.before_server_start
async def start(app: Sanic) -> None:  # type: ignore[type-arg]
    app.ctx.pages = build()


@pages.get("/", name="index", ctx_counted=False)
async def read_index(request: Request) -> HTTPResponse:
    """Show a browser the trading page, and everybody else what there is."""
    if wants_page(request):
        return _pages(request).trade.answer(request, CHECKED)
    return index(request)


@pages.get("/status", name="status", ctx_counted=False)
async def read_status(request: Request) -> HTTPResponse:
    """Show the exchange's state to humans."""
    return _pages(request).status.answer(request, CHECKED)


@pages.get("/static/<version:str>/<folder:str>/<name:str>", name="file", ctx_counted=False)
async def read_file(request: Request, version: str, folder: str, name: str) -> HTTPResponse:
    """Return a file that the pages use.

    Of another version, as while a new one is rolled out, it is not there: the page, loaded again,
    names those that are.
    """
    pages = _pages(request)
    file = pages.files.get((folder, name)) if version == pages.version else None
    if file is None:
        raise NotFound("there is no such file: load the page again")
    return file.answer(request, LONG)


def wants_page(request: Request) -> bool:
    """Tell whether HTML is what a client likes best; `*/*` is no wish for a page."""
    try:
        liked = request.accept.match("application/json", "text/html", accept_wildcards=False)
    except InvalidHeader:
        return False
    return str(liked) == "text/html"


def _pages(request: Request) -> Pages:
    pages: Pages = request.app.ctx.pages
    return pages
