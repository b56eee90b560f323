"""A web process that is told to stop while clients send without a pause, on kept connections."""

import signal
import time
from pathlib import Path

from tests.exchange import Exchange, Load, eventually


def test_it_stops_at_once(database_url: str, redis_url: str, tmp_path: Path) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path)
    try:
        exchange.start()
        _, web = exchange.processes
        with Load(exchange.port, threads=6) as load:
            eventually(lambda: len(load.acknowledged) > 100, "100 acknowledged orders")
            began = time.monotonic()
            web.send_signal(signal.SIGTERM)
            assert web.wait(20) == 0
            took = time.monotonic() - began
        # Sanic would wait ten seconds for connections on which there is always one more request.
        assert took < 5
    finally:
        exchange.stop()
