"""The matcher process: match its share of the instruments, stand by for the others."""

import asyncio
import os
import signal
import socket
import sys
import uuid

import uvloop

from workers.adapters.failpoints import Failpoints
from workers.logs import configure
from workers.matching.matcher import Matcher
from workers.metrics import Metrics
from workers.metrics_folder import join, metrics_folder
from workers.metrics_server import serving
from workers.settings import Settings, SettingsError


async def match_all(settings: Settings, metrics: Metrics, failpoints: Failpoints) -> None:
    """Match this process's share of the instruments until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    await Matcher(settings, metrics, owner, failpoints).run(stopping)


def main() -> int:
    try:
        settings = Settings.from_env(os.environ)
        failpoints = Failpoints.from_env(os.environ)
        configure(settings, "matcher")
        with metrics_folder(os.environ) as folder:
            join(folder)
            with serving(settings, folder):
                uvloop.run(match_all(settings, Metrics(), failpoints))
    except SettingsError as error:
        print(f"matcher: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
