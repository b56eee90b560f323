"""A WebSocket by hand, for tests that want to see single bytes."""

import base64
import json
import os
import socket
from typing import BinaryIO


def ping_pong(made: socket.socket, port: int) -> str:
    """Open a WebSocket on a connection, send our own `ping`, return the type of what comes back."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    made.sendall(head.encode())
    stream = made.makefile("rb")
    while stream.readline().strip():
        pass
    assert _message(stream)["type"] == "connected"
    payload = b'{"type":"ping"}'
    made.sendall(bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload)
    return str(_message(stream)["type"])


def _message(stream: BinaryIO) -> dict[str, object]:
    _, length = stream.read(2)
    if length == 126:
        length = int.from_bytes(stream.read(2), "big")
    return dict(json.loads(stream.read(length)))
