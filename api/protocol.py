"""Connections as the web server holds them: bounded in number, and in how long a request may take.

Sanic measures a request's time from the last bytes that came, so a client that sends one byte every
few seconds holds its connection for hours. Here it counts from the first.
"""

import resource
import time
from typing import Any

from sanic.exceptions import RequestTimeout
from sanic.http.constants import Stage
from sanic.server.protocols.websocket_protocol import WebSocketProtocol

from api.limits import limited_address

# Descriptors we ask for: each connection is one. The usual soft limit is 1,024.
DESCRIPTORS_MAX = 65_536


class Protocol(WebSocketProtocol):
    """One client's connection."""

    __slots__ = ("_address",)

    def connection_made(self, transport: Any) -> None:
        """Take a connection in; close it at once when its address has too many."""
        self._address = ""
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        most: int = self.app.ctx.address_connections_max
        peer = transport.get_extra_info("peername")
        if not most or not peer:
            return
        self._address = limited_address(peer[0])
        self.app.ctx.addresses[self._address] += 1
        if self.app.ctx.addresses[self._address] > most:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        super().connection_lost(exc)  # type: ignore[no-untyped-call]
        if self._address:
            addresses = self.app.ctx.addresses
            addresses[self._address] -= 1
            if not addresses[self._address]:
                del addresses[self._address]

    def data_received(self, data: bytes) -> None:
        """Take bytes in; what a request's first ones have started, later ones do not start anew."""
        before = self._time
        super().data_received(data)  # type: ignore[no-untyped-call]
        http = self.http  # None until its task has begun
        if http is not None and http.stage is not Stage.IDLE:
            self._time = before

    def check_timeouts(self) -> None:
        """End a request whose body does not arrive; the rest is as ever."""
        http = self.http
        if (
            self._task
            and http is not None
            and http.stage is Stage.HANDLER
            and http.request_body
            and time.monotonic() - self._time > self.request_timeout
        ):
            http.exception = RequestTimeout("the request did not arrive in time")
            self._task.cancel()
            return
        super().check_timeouts()  # type: ignore[no-untyped-call]


def raise_descriptors() -> None:
    """Ask the system for as many descriptors as it lets us have, up to DESCRIPTORS_MAX."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
