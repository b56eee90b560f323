"""What the app really serves, in the words of its OpenAPI document."""

import re
from functools import cache
from pathlib import Path

from sanic import Sanic

from api.app import create_app
from workers.settings import Settings


@cache
def served() -> frozenset[tuple[str, str]]:
    """Return method and path of every HTTP route, WebSockets as `websocket`."""
    app = create_app(Settings("postgresql://nowhere", "redis://nowhere"), Path("nowhere"))
    try:
        return frozenset(
            (
                "websocket" if route.extra.websocket else method.lower(),
                "/" + re.sub(r"<([a-z_]+)(:[^>]*)?>", r"{\1}", route.path),
            )
            for route in app.router.routes
            for method in route.methods
        )
    finally:
        Sanic.unregister_app(app)
