"""The image with everything in it, by testcontainers (the extra `containers`).

    with ExchangeContainer("trade-engine:latest") as exchange:
        requests.get(f"{exchange.url}/market/orderbook")

Build the image with `docker build -f ops/Dockerfile -t trade-engine .`.
"""

import http.client
import time
from typing import Self
from urllib.parse import urlsplit

from testcontainers.core.container import DockerContainer

PORT = 3000
READY_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 2.0
POLL_S = 0.1


class ExchangeContainer(DockerContainer):
    """One container with PostgreSQL, Valkey and every process; its data ends with it."""

    def __init__(self, image: str = "trade-engine:latest") -> None:
        super().__init__(image)
        self.with_command(["python", "-m", "ops", "run", "--host", "0.0.0.0", "--ephemeral"])
        self.with_exposed_ports(PORT)
        # Docker publishes the port on this machine; nobody else is meant to reach it.
        self.with_env("EXCHANGE_INSECURE", "1")

    @property
    def url(self) -> str:
        """The URL of its HTTP interface."""
        return f"http://{self.get_container_host_ip()}:{self.get_exposed_port(PORT)}"

    @property
    def stream_url(self) -> str:
        """The URL of its WebSocket."""
        return f"ws{self.url.removeprefix('http')}/stream"

    def start(self) -> Self:
        """Start it, and wait until orders are accepted. Raises TimeoutError."""
        super().start()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._ready():
            if time.monotonic() > deadline:
                out, err = self.get_logs()
                self.stop()
                raise TimeoutError(f"not ready in {READY_TIMEOUT_S:.0f} s: {out!r} {err!r}")
            time.sleep(POLL_S)
        return self

    def _ready(self) -> bool:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            place.hostname or "", place.port, timeout=PROBE_TIMEOUT_S
        )
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
