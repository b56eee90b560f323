"""Where the exchange listens."""

import http.server
import socket
import threading

import pytest

from ops.address import Address, PortTakenError
from ops.errors import OpsError


def test_a_taken_port_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"^Port {port} is taken: .* with --port$"):
            Address.claim("127.0.0.1", port)


def test_a_port_taken_on_one_address_is_refused_for_all_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(PortTakenError):
        Address.claim("0.0.0.0", listener.getsockname()[1])


def test_port_zero_is_any_free_port() -> None:
    address = Address.claim("127.0.0.1", 0)
    assert address.port > 0
    assert Address.claim("127.0.0.1", address.port) == address


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(OpsError, match="--host"):
        Address.claim("no-such-host.invalid", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::", "http://[::1]:3000"),
    ],
)
def test_url_is_one_that_works_on_this_machine(host: str, url: str) -> None:
    assert Address(host, 3000).url == url


@pytest.mark.parametrize(
    ("status", "body", "missing"),
    [
        (200, b"{}", None),
        (503, b'{"missing": ["a matcher", "a book"]}', "a matcher; a book"),
        (503, b"[]", "/readyz answers 503"),
        (404, b"<html>", "/readyz answers 404"),
    ],
)
def test_says_what_is_missing(status: int, body: bytes, missing: str | None) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert Address("127.0.0.1", server.server_port).missing() == missing
        thread.join()


def test_nothing_there_is_missing_too() -> None:
    assert "nothing answers" in (Address.claim("127.0.0.1", 0).missing() or "")
