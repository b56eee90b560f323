"""The web process."""

import os
import sys
from functools import partial

from sanic import Sanic
from sanic.worker.loader import AppLoader

from api.app import create_app
from workers.logs import configure
from workers.settings import Settings, SettingsError


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, in one process or several behind one port."""
    several = settings.web_concurrency > 1
    loader = AppLoader(factory=partial(create_app, settings))
    app = loader.load()
    app.prepare(
        host=settings.host,
        port=settings.port,
        workers=settings.web_concurrency,
        single_process=not several,
        access_log=False,
        motd=False,
    )
    if several:
        Sanic.serve(primary=app, app_loader=loader)
    else:
        Sanic.serve_single(primary=app)


def main() -> int:
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(f"web: {error}", file=sys.stderr)
        return 2
    configure(settings.log_level)
    serve(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
