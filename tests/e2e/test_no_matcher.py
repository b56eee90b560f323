"""Only `web` was started, as platforms do: it says what is missing, unasked too."""

from pathlib import Path

from tests.exchange import Exchange, eventually


def test_it_says_so(database_url: str, redis_url: str, tmp_path: Path) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path)
    exchange.web()
    try:
        with eventually(lambda: _connected(exchange), "it listens") as client:
            answer = client.get("/readyz")
            assert answer.status == 503
            assert any("scale `matcher` to 1" in line for line in answer.json["missing"])
        eventually(lambda: "api.unmatched" in exchange.logs(), "it logs it")
        exchange.matcher()
        exchange.wait_ready()
        eventually(lambda: "matched again" in exchange.logs(), "it logs that, too")
    finally:
        exchange.stop()


def _connected(exchange: Exchange):  # type: ignore[no-untyped-def]
    client = exchange.client(5.0)
    try:
        client.get("/livez")
    except OSError:
        client.connection.close()
        return None
    return client
