"""The web process."""

import os
import sys
from functools import partial
from pathlib import Path

from sanic import Sanic
from sanic.worker.loader import AppLoader

from api.app import load_app
from workers.metrics_folder import metrics_folder
from workers.settings import Settings, SettingsError


def serve(settings: Settings, folder: Path) -> None:
    """Serve until SIGTERM or SIGINT, in one process or several behind one port."""
    several = settings.web_concurrency > 1
    loader = AppLoader(factory=partial(load_app, settings, folder))
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
    # One folder for all of these processes, removed when the last one has ended.
    with metrics_folder(os.environ) as folder:
        serve(settings, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
