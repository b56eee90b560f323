"""Every documented operation, tried with good and bad requests made from the document itself."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import openapi
from tests.exchange import Exchange, running

CONFIG = Path(__file__).with_name("schemathesis.toml")
# Requests per operation in each of the random phases: about a minute for all operations.
EXAMPLES = 300
TIMEOUT_S = 300
OTHERS = "methods that a path does not have"


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        trade(exchange)
        yield exchange


def trade(exchange: Exchange) -> None:
    """Leave orders of every status, trades, positions and levels behind."""
    with exchange.client() as client:
        assert client.post("/orders", openapi.LIMIT_ORDER).status == 201
        assert client.order("buy", 1, 70000, order_id="order-2").status == 201
        assert client.order("sell", 0.5, order_id="order-3", client_id="client-B").status == 201
        assert client.order("buy", 1, 10, order_id="order-4").status == 201
        assert client.post("/orders/order-4/cancel").status == 200
        assert client.order("buy", 1, 11, order_id="order-5").status == 201
        assert client.order("buy", 1, 12, order_id="order-6").status == 201
        assert client.order("sell", 2, 80000, idempotency_key="key-1").status == 201
        assert client.order("buy", 5, client_id="client-C").status == 201
        assert client.order("buy", 1, client_id="client-C").json["order"]["status"] == "rejected"


def test_schemathesis_finds_nothing(exchange: Exchange, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{exchange.port}"
    report = tmp_path / "events.ndjson"
    run = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}", "run",
            f"{url}/openapi.json", f"--url={url}",
            f"--max-examples={EXAMPLES}",
            "--continue-on-failure",
            "--report=ndjson", f"--report-ndjson-path={report}",
            "--output-sanitize=false",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    named = {f"{operation.method.upper()} {operation.path}" for operation in openapi.TABLE}
    named.remove("GET /openapi.json")  # it is read, and leaves itself out
    cases = tried(report, named)
    print(table(cases))
    assert named <= {label for label, _ in cases}
    # The requests are not all refused at the door.
    answered = {label for (label, status) in cases if status < 300}
    assert named <= answered
    assert max(status for _, status in cases) < 500


def tried(report: Path, named: set[str]) -> Counter[tuple[str, int]]:
    """Return how many requests each operation answered with each status.

    Methods that a path does not have count as one operation.
    """
    cases: Counter[tuple[str, int]] = Counter()
    with report.open() as lines:
        for line in lines:
            event = json.loads(line).get("ScenarioFinished")
            if event is None:
                continue
            recorder = event["recorder"]
            for case_id, case in recorder.get("cases", {}).items():
                answer = recorder["interactions"].get(case_id, {}).get("response")
                label = f"{case['value']['method']} {case['value']['path']}"
                if answer is not None:
                    cases[label if label in named else OTHERS, answer["status_code"]] += 1
    return cases


def table(cases: Counter[tuple[str, int]]) -> str:
    """Return the counts as text: operation, cases, cases by status."""
    lines = []
    for label in sorted({label for label, _ in cases}):
        by_status = {s: n for (other, s), n in sorted(cases.items()) if other == label}
        counts = "  ".join(f"{status}: {count}" for status, count in by_status.items())
        lines.append(f"{label:<48} {sum(by_status.values()):>6}   {counts}")
    return "\n".join([*lines, f"{'all':<48} {sum(cases.values()):>6}"])
