"""The fault proxy does to a connection what it says."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from ops.faulting.proxy import Proxy
from tests.exchange import eventually


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


heard: list[bytes] = []


def accept(listener: socket.socket) -> None:
    while True:
        try:
            made, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(made,), daemon=True).start()


def serve(made: socket.socket) -> None:
    with made:
        try:
            while data := made.recv(1_000):
                heard.append(data)
                made.sendall(data)
        except OSError:
            pass


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    heard.clear()
    with Proxy(echo) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    made.settimeout(0.3)
    return made


def says(made: socket.socket, text: bytes) -> bytes | type[BaseException]:
    """Say something; return what comes back: bytes, b"" for the end, or the error."""
    try:
        made.sendall(text)
        return made.recv(1_000)
    except OSError as error:
        return type(error)


def test_it_passes_on(proxy: Proxy) -> None:
    with closing(connect(proxy)) as made:
        assert says(made, b"hello") == b"hello"
        assert proxy.connections == 1
    eventually(lambda: proxy.connections == 0, "gone")


def test_cut(proxy: Proxy) -> None:
    with closing(connect(proxy)) as made:
        assert says(made, b"1") == b"1"
        proxy.cut()
        assert says(made, b"2") in (b"", ConnectionResetError, BrokenPipeError)
    with closing(connect(proxy)) as another:
        assert says(another, b"3") in (b"", ConnectionResetError, BrokenPipeError)
    proxy.restore()
    with closing(connect(proxy)) as another:
        assert says(another, b"4") == b"4"


def test_reset(proxy: Proxy) -> None:
    with closing(connect(proxy)) as made:
        assert says(made, b"1") == b"1"
        proxy.reset()
        eventually(lambda: proxy.connections == 0, "reset")
        assert says(made, b"2") in (ConnectionResetError, BrokenPipeError)
    with closing(connect(proxy)) as another:
        assert says(another, b"3") == b"3"


def test_stall(proxy: Proxy) -> None:
    with closing(connect(proxy)) as made:
        assert says(made, b"1") == b"1"
        proxy.stall()
        assert says(made, b"2") is TimeoutError
        proxy.restore()
        assert made.recv(10) == b"2", "late, but not lost"


@pytest.mark.parametrize(("direction", "arrives"), [("up", []), ("down", [b"2"])])
def test_half_open(proxy: Proxy, direction: str, arrives: list[bytes]) -> None:
    with closing(connect(proxy)) as made:
        assert says(made, b"1") == b"1"
        proxy.deafen(direction)  # type: ignore[arg-type]
        assert says(made, b"2") is TimeoutError
        assert heard[1:] == arrives
        proxy.restore()
        assert says(made, b"3") in (b"", ConnectionResetError, BrokenPipeError)


def test_lost_answers(proxy: Proxy) -> None:
    with closing(connect(proxy)) as made:
        proxy.lose_answers(1)
        assert says(made, b"1") in (b"", ConnectionResetError)
        assert heard == [b"1"], "it was done"
    with closing(connect(proxy)) as another:
        assert says(another, b"2") == b"2"


def test_delay(proxy: Proxy) -> None:
    with closing(connect(proxy)) as made:
        proxy.delay(0.05)
        began = time.monotonic()
        assert says(made, b"1") == b"1"
        assert time.monotonic() - began >= 0.1
