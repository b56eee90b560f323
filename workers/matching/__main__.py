"""The matcher process: match every instrument that nobody else matches."""

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid

import uvloop

from workers.adapters.errors import AdapterError
from workers.adapters.ledger import Shards
from workers.logs import configure
from workers.matching.shard import Shard
from workers.metrics import Metrics
from workers.metrics_folder import join, metrics_folder
from workers.metrics_server import serving
from workers.settings import Settings, SettingsError

logger = logging.getLogger("workers.matching")


async def match_all(settings: Settings, metrics: Metrics) -> None:
    """Hold every free instrument until SIGTERM or SIGINT; standing by costs one query a time."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    shards = Shards(settings.database_url)
    running: dict[int, tuple[Shard, asyncio.Task[None]]] = {}
    try:
        while not stopping.is_set():
            for instrument_id, (_, task) in list(running.items()):
                if task.done():
                    del running[instrument_id]
                    task.result()  # an error that nobody foresaw ends the process
            try:
                free = await shards.free()
            except AdapterError as error:
                logger.warning("cannot look for free instruments: %s", error)
                free = []
            for instrument in free:
                if instrument.instrument_id not in running:
                    shard = Shard(settings, instrument, owner, metrics)
                    running[instrument.instrument_id] = (shard, asyncio.create_task(shard.run()))
            await _wait(stopping, settings.lease_ms / 4000)
    finally:
        logger.info("stopping")
        for shard, _ in running.values():
            shard.stop()
        await asyncio.gather(*(task for _, task in running.values()), return_exceptions=True)
        await shards.close()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        pass


def main() -> int:
    try:
        settings = Settings.from_env(os.environ)
        configure(settings, "matcher")
        with metrics_folder(os.environ) as folder:
            join(folder)
            with serving(settings, folder):
                uvloop.run(match_all(settings, Metrics()))
    except SettingsError as error:
        print(f"matcher: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
