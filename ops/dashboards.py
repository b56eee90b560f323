"""Write Grafana's dashboards (ops/grafana/dashboards/) from the tables of panels below."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, PANEL_WIDTH, PANEL_HEIGHT = 24, 8, 8


@dataclass(frozen=True)
class Panel:
    """A graph: its title, the unit of its values, and each query with the legend of its lines."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    description: str = ""


def quantiles(histogram: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Return the queries of the usual quantiles of a histogram, apart by a label if given."""
    labels, legend = ("le, " + by, " {{" + by + "}}") if by else ("le", "")
    return tuple(
        (
            f"histogram_quantile({quantile}, sum by ({labels}) "
            f"(rate({histogram}_bucket[$__rate_interval])))",
            f"p{100 * quantile:g}{legend}",
        )
        for quantile in (0.5, 0.95, 0.99)
    )


def rate(counter: str, *by: str) -> tuple[tuple[str, str], ...]:
    """Return the query of a counter's rate per second, apart by labels."""
    legend = " ".join("{{" + label + "}}" for label in by) or counter
    grouped = f"sum by ({', '.join(by)})" if by else "sum"
    return ((f"{grouped} (rate({counter}[$__rate_interval]))", legend),)


OPERATIONS = (
    Panel("Latency of orders", "s", quantiles("order_latency_seconds"), "Alert: p99 over 200 ms"),
    Panel("Orders", "ops", (*rate("orders_received_total"), *rate("orders_matched_total"))),
    Panel("Requests by status", "reqps", rate("http_requests_total", "status")),
    Panel(
        "Stream lag", "short", (("max by (instrument) (stream_lag_entries)", "{{instrument}}"),),
        "Commands that are not committed yet",
    ),
    Panel("Commands under way", "short", (("sum(commands_in_flight)", "in flight"),)),
    Panel("Refused", "ops", (
        *rate("overload_refusals_total", "cause"), *rate("rate_limited_requests_total"),
    )),
    Panel("Entries per commit", "short", quantiles("commit_batch_entries")),
    Panel("Commit", "s", quantiles("commit_batch_seconds")),
    Panel("Publication", "s", quantiles("publish_seconds")),
    Panel("Leases", "short", (("max by (instrument) (matcher_lease_held)", "{{instrument}}"),),
          "1 while somebody matches it"),
    Panel("Epochs", "short", (("max by (instrument) (matcher_epoch)", "{{instrument}}"),),
          "Each step is a take-over"),
    Panel("Recoveries and dead letters", "ops", (
        *rate("recoveries_total", "instrument", "cause"), *rate("dead_letters_total", "instrument"),
    )),
    Panel("Servers", "short", (("min by (dependency) (dependency_up)", "{{dependency}}"),),
          "1 while it answers"),
    Panel("WebSockets", "short", (("sum(websocket_connections)", "open"),)),
    Panel("Slow clients and gaps", "ops", (
        *rate("websocket_clients_resynced_total"), *rate("websocket_clients_dropped_total"),
        *rate("feed_gaps_repaired_total"), *rate("feed_reconnects_total"),
    )),
    Panel("Duration of requests, p99", "s", quantiles("http_request_seconds", "route")[-1:]),
    Panel("WebSocket messages", "ops", rate("websocket_messages_received_total")),
    Panel("Memory in use", "percentunit", (
        ("max by (job, instance) (memory_used_ratio)", "{{job}} {{instance}}"),
    ), "Alert: over 80 %"),
    Panel("Jobs overdue", "s", (("max by (job) (job_overdue_seconds)", "{{job}}"),)),
    Panel("Runs of jobs", "ops", rate("job_runs_total", "job", "outcome")),
    Panel("Kafka mirror", "s", (
        ("max by (instrument) (mirror_lag_seconds)", "{{instrument}}"),
    ), "How far it is behind; alert: over 10 s"),
)  # fmt: skip

BUSINESS = (
    Panel("Volume", "short", rate("trade_volume_total", "instrument"), "Base asset a second"),
    Panel("Trades", "ops", rate("trades_total", "instrument")),
    Panel("Volume of the last day", "short", (
        ("sum by (instrument) (increase(trade_volume_total[1d]))", "{{instrument}}"),
    )),
    Panel("Active clients", "short", (
        ("max by (activity) (active_clients)", "{{activity}}"),
    ), "In the last hour"),
    Panel("Fee revenue by segment", "short", (
        ("sum by (segment, asset) (max by (segment, role, asset) (fee_revenue))",
         "{{segment}} {{asset}}"),
    ), "In the last hour, less rebates"),
    Panel("Fills by role", "ops", rate("fills_total", "role")),
    Panel("Orders by type and side", "ops", rate("orders_received_total", "type", "side")),
    Panel("Depth", "short", (
        ("max by (instrument, side) (current_orderbook_depth)", "{{instrument}} {{side}}"),
    ), "Levels"),
    Panel("Rejections", "ops", rate("orders_rejected_total", "reason")),
    Panel("Orders that traded", "ops", rate("orders_matched_total", "instrument")),
)  # fmt: skip

DASHBOARDS = {
    "operations": ("Trade engine: operations", OPERATIONS),
    "business": ("Trade engine: business", BUSINESS),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="the folder")


def main(args: argparse.Namespace) -> int:
    """Write the files."""
    for name in DASHBOARDS:
        (args.output / f"{name}.json").write_text(dashboard(name), encoding="utf-8")
    return 0


def dashboard(name: str) -> str:
    """Return the text of one dashboard."""
    title, panels = DASHBOARDS[name]
    document = {
        "uid": f"trade-engine-{name}",
        "title": title,
        "tags": ["trade-engine"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "utc",
        "graphTooltip": 1,
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": _placed(panels),
    }
    return json.dumps(document, indent=2) + "\n"


def _placed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Return the panels in rows, from the left and the top."""
    per_row = COLUMNS // PANEL_WIDTH
    return [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": panel.title,
            "description": panel.description,
            "datasource": DATASOURCE,
            "gridPos": {
                "x": number % per_row * PANEL_WIDTH,
                "y": number // per_row * PANEL_HEIGHT,
                "w": PANEL_WIDTH,
                "h": PANEL_HEIGHT,
            },
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
            "targets": [
                {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
                for place, (expression, legend) in enumerate(panel.queries)
            ],
        }
        for number, panel in enumerate(panels)
    ]
