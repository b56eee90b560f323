"""Connections as the web server holds them: bounded in number, and in how long a request may take.

Sanic measures a request's time from the last bytes that came, so a client that sends one byte every
few seconds holds its connection for hours. Here it counts from the first.

Orders that express.py takes never come to Sanic. For it such a connection is idle, which must not
end it, and what a client sends ahead of its answer waits here.
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
# Bytes sent ahead of an answer before no more are read.
AHEAD_BYTES_MAX = 64 * 1024


class Protocol(WebSocketProtocol):
    """One client's connection."""

    __slots__ = ("_address", "_ahead", "_answering")

    def connection_made(self, transport: Any) -> None:
        """Take a connection in; close it at once when its address has too many."""
        self._address = ""
        # Whether an order that express.py took is to be answered, and what was sent ahead.
        self._answering = False
        self._ahead = b""
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
        if self._answering:
            self._ahead += data
            if len(self._ahead) > AHEAD_BYTES_MAX and self.transport is not None:
                self.transport.pause_reading()
            return
        http = self.http  # None until its task has begun
        if http is not None and self._is_between_requests(http) and self._express(data):
            return
        before = self._time
        super().data_received(data)  # type: ignore[no-untyped-call]
        if http is not None and http.stage is not Stage.IDLE:
            self._time = before

    def _is_between_requests(self, http: Any) -> bool:
        """Tell whether Sanic waits for a request, with nothing read and nothing to write."""
        return (
            http.stage is Stage.IDLE
            and http.keep_alive
            and not http.request_body  # of one that was refused before its body came
            and not self.recv_buffer
            and self._can_write.is_set()
            and self.transport is not None
            and not self.transport.is_closing()
        )

    def _express(self, data: bytes) -> bool:
        """Have an order taken by the short way; False when it is for Sanic."""
        assert self.conn_info is not None
        self._answering = True  # it may be answered at once
        taken: bool = self.app.ctx.express.take(self, self.conn_info.client_ip, data)
        if not taken:
            self._answering = False
        return taken

    def answer(self, data: bytes, *, close: bool) -> None:
        """Send the answer of an order that express.py took, and go on with what was sent ahead."""
        self._answering = False
        if self.transport is None or self.transport.is_closing():
            return  # the client has gone
        self.transport.write(data)
        self._time = time.monotonic()
        if close:
            self.close()
        elif self._ahead:
            ahead, self._ahead = self._ahead, b""
            self.transport.resume_reading()
            self.data_received(ahead)

    def close_if_idle(self) -> bool:
        """Close a connection on which nothing is under way; tell whether it was."""
        if self._answering:
            return False
        idle: bool = super().close_if_idle()  # type: ignore[no-untyped-call]
        return idle

    def check_timeouts(self) -> None:
        """End a request whose body does not arrive; the rest is as ever."""
        if self._answering:
            self._time = time.monotonic()
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
