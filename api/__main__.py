"""The web process, or several behind one port."""

import asyncio
import os
import sys
from pathlib import Path

from sanic import Sanic

from api.app import create_app
from api.prefork import Prefork, inherited
from api.protocol import Protocol, raise_descriptors
from workers.adapters.failpoints import Failpoints
from workers.logs import configure
from workers.metrics_folder import metrics_folder
from workers.settings import Settings, SettingsError


def serve(settings: Settings, folder: Path, failpoints: Failpoints) -> int:
    """Serve until SIGTERM or SIGINT. Return the exit code."""
    listener, parent_pid = inherited(os.environ) or (None, None)
    if settings.web_concurrency > 1 and listener is None:
        asyncio.run(Prefork(settings, folder).run())
        return 0
    app = create_app(settings, folder, parent_pid, failpoints)
    app.prepare(
        host=None if listener else settings.host,
        port=None if listener else settings.port,
        sock=listener,
        protocol=Protocol,
        single_process=True,
        access_log=False,
        motd=False,
    )
    Sanic.serve_single(primary=app)
    return int(app.ctx.failed)


def main() -> int:
    try:
        settings = Settings.from_env(os.environ)
        settings.check_listening()
        failpoints = Failpoints.from_env(os.environ)
    except SettingsError as error:
        print(f"web: {error}", file=sys.stderr)
        return 2
    configure(settings, "web")
    raise_descriptors()
    # One folder for all of these processes, removed when the last one has ended.
    with metrics_folder(os.environ) as folder:
        return serve(settings, folder, failpoints)


if __name__ == "__main__":
    sys.exit(main())
