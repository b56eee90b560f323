"""A running exchange for tests, and clients for it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

DEADLINE_S = 30.0


def eventually(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the condition's first true result; fail when none comes in time."""
    end = time.monotonic() + deadline_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not in {deadline_s} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Answer:
    """An HTTP answer: status, headers, and the body both raw and parsed."""

    def __init__(self, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class Connection(http.client.HTTPConnection):
    """Sends the head and the body of a request together, as most clients do."""

    _pieces: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._pieces = pieces = []
        super().request(*args, **kwargs)
        whole, self._pieces = b"".join(pieces), None
        self.send(whole)

    def send(self, data: Any) -> None:
        if self._pieces is None:
            super().send(data)
        else:
            self._pieces.append(bytes(data))


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.connection = Connection("127.0.0.1", port, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request; `body` is sent as it is when bytes, else as JSON."""
        headers = {"Connection": "keep-alive"} | (headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        raw = response.read()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, raw)

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return self.request("POST", path, body, headers)

    def order(self, side: str, quantity: Any, price: Any = None, **fields: Any) -> Answer:
        """Submit a limit order, or a market order when there is no price."""
        body = {"client_id": "client-A", "side": side, "quantity": quantity, **fields}
        body |= {"type": "market"} if price is None else {"type": "limit", "price": price}
        return self.post("/orders", body)


class Exchange:
    """Processes of the exchange against given servers. Their output goes to files in `folder`."""

    def __init__(self, database_url: str, redis_url: str, folder: Path, **env: str) -> None:
        self.port = free_port()
        self.folder = folder
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "EXCHANGE_DATA"},
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PORT": str(self.port),
            **env,
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def spawn(self, module: str, **env: str) -> subprocess.Popen[bytes]:
        """Start `python -m module`."""
        log = (self.folder / f"{module}-{len(self.processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=self.env | env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def web(self, **env: str) -> subprocess.Popen[bytes]:
        return self.spawn("api", **env)

    def matcher(self, **env: str) -> subprocess.Popen[bytes]:
        return self.spawn("workers.matching", **env)

    def start(self) -> Self:
        """Start a web process and a matcher, and wait until orders are accepted."""
        self.matcher()
        self.web()
        self.wait_ready()
        return self

    def wait_ready(self, port: int | None = None) -> None:
        eventually(lambda: self.ready(port), f"ready\n{self.logs()}")

    def ready(self, port: int | None = None) -> bool:
        try:
            with Client(port or self.port, 2.0) as client:
                return client.get("/readyz").status == 200
        except OSError:
            return False

    def client(self, timeout_s: float = 20.0) -> Client:
        return Client(self.port, timeout_s)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End every process and wait for it."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(how)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


@contextmanager
def running(database_url: str, redis_url: str, folder: Path, **env: str) -> Iterator[Exchange]:
    """Run an exchange and stop it at the end."""
    exchange = Exchange(database_url, redis_url, folder, **env)
    try:
        yield exchange.start()
    finally:
        exchange.stop()


class Load:
    """Threads that submit orders and remember what was acknowledged, and what nobody knows."""

    def __init__(self, port: int, threads: int = 4, instruments: tuple[str, ...] = ("BTC-USD",)):
        self.port = port
        self.instruments = instruments
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.trades: dict[str, dict[str, Any]] = {}
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        # What no client should ever be told; it ends the load.
        self.problems: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        assert self.problems == []

    def _run(self, number: int) -> None:
        n = 0
        while not self._stop.is_set():
            try:
                with Client(self.port, 10.0) as client:
                    while not self._stop.is_set():
                        n += 1
                        self._submit(client, number, n)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # between tries to connect

    def _submit(self, client: Client, number: int, n: int) -> None:
        order_id = f"load-{id(self)}-{number}-{n}"
        side = "buy" if (n + number) % 2 else "sell"
        price = 100 + (n * 7 + number * 3) % 11 - 5
        body = {
            "order_id": order_id,
            "client_id": f"client-{number}-{n % 7}",
            "instrument": self.instruments[n % len(self.instruments)],
            "side": side,
            "type": "limit" if n % 10 < 7 else "market",
            "quantity": f"{1 + n % 5}.5",
        } | ({"price": price} if n % 10 < 7 else {})
        try:
            answer = client.post("/orders", body)
        except BaseException:
            with self._lock:
                self.unknown.add(order_id)
            raise
        with self._lock:
            if answer.status in (200, 201):
                self.acknowledged[order_id] = answer.json["order"]
                self.trades |= {trade["trade_id"]: trade for trade in answer.json["trades"]}
            elif answer.status == 503:
                self.refused.add(order_id)
            elif answer.status == 504:
                self.unknown.add(order_id)
            else:
                self.problems.append(f"{order_id}: {answer.status} {answer.raw!r}")
                self._stop.set()
