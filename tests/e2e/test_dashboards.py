"""Every panel draws something: a real Prometheus, a real exchange, and the queries of Grafana."""

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from ops import dashboards
from tests.exchange import Load, eventually, free_port, running

PROMETHEUS = Path(__file__).parents[2] / "ops" / "prometheus"
# Short, as one looks at minutes: Grafana takes four scrapes at least.
SCRAPE_S = 1
RATE_INTERVAL = "10s"
# What only happens when something is wrong, or is not running here.
QUIET = {
    "recoveries_total", "dead_letters_total", "mirror_lag_seconds", "rate_limited_requests_total",
    "overload_refusals_total", "feed_gaps_repaired_total", "orders_rejected_total",
}  # fmt: skip


@pytest.fixture
def prometheus() -> str:
    found = shutil.which("prometheus", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("prometheus is not here: it is in Debian's package of that name")
    return found


def ask(port: int, path: str, **values: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(values)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def test_every_panel_has_data(
    prometheus: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url, autocommit=True) as look:
        for name in ("BTC-USD", "ETH-USD"):
            look.execute("SELECT exchange.set_fees_v1(%s, 'standard', -1, 5)", (name,))
    port = free_port()
    with running(
        database_url, redis_url, tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics")
    ) as exchange:
        exchange.spawn("workers.jobs")
        exchange.spawn("workers.jobs.clock")
        scrape = {
            "job_name": "web", "static_configs": [{"targets": [f"127.0.0.1:{exchange.port}"]}],
        }  # fmt: skip
        configuration = {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
            "rule_files": [str(PROMETHEUS / "alerts.yml")],
            "scrape_configs": [scrape],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        with (tmp_path / "prometheus.log").open("w") as log:
            server = subprocess.Popen(
                [
                    prometheus, f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            with Load(exchange.port, threads=2, instruments=("BTC-USD", "ETH-USD")) as load:
                eventually(lambda: len(load.acknowledged) > 200, "orders")
                wanted = queries()
                missing = list(wanted)

                def drawn() -> bool:
                    try:
                        missing[:] = [
                            (title, asked) for title, asked in missing if not values(port, asked)
                        ]
                    except OSError:
                        return False
                    return not missing

                try:
                    eventually(drawn, "every panel has data", 90)
                except AssertionError:
                    pytest.fail(f"no data: {missing}\n{exchange.logs()}")
            for title, asked in wanted:
                print(title, values(port, asked))
            # Those that must be silent are, and can be evaluated.
            rules = ask(port, "rules")["groups"][0]["rules"]
            assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
            assert len(rules) > 5
        finally:
            server.terminate()
            server.wait(20)


def queries() -> list[tuple[str, str]]:
    """Return the panel and the query of every line that something is expected of."""
    return [
        (f"{name}: {panel.title}", expression.replace("$__rate_interval", RATE_INTERVAL))
        for name, (_, panels) in dashboards.DASHBOARDS.items()
        for panel in panels
        for expression, _ in panel.queries
        if not any(word in expression for word in QUIET)
    ]


def values(port: int, expression: str) -> list[str]:
    """Return the values of an expression now, those that are numbers."""
    found = [line["value"][1] for line in ask(port, "query", query=expression)["result"]]
    return [value for value in found if value != "NaN"]
