"""The report as a page: plots in SVG, nothing loaded from anywhere."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 260, 64, 34, 12
COLOURS = ("#2a6fdb", "#d9822b", "#3a9d5d", "#b0413e", "#7d5ba6", "#5f6b7a", "#c2a83e")
PARTS = ("web", "matcher", "PostgreSQL", "Valkey", "load")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c2330; background: #fff; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid #dde2ea; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #5f6b7a; }
.axis { stroke: #dde2ea; } p.facts { color: #5f6b7a; }
@media (prefers-color-scheme: dark) { body { color: #dde2ea; background: #14181f; }
  th, td { border-color: #2a313c; } .axis { stroke: #2a313c; } }
"""


def write_page(path: Path, report: Mapping[str, Any]) -> None:
    """Write the page."""
    scenarios: Mapping[str, Mapping[str, Any]] = report["scenarios"]
    machine = report["machine"]
    facts = (
        f"{machine['processors']} x {machine['processor']}, {machine['memory_gb']} GB, Python "
        f"{machine['python']}, {machine['at']}. The load runs on the same machine. "
        + ", ".join(f"{name} = {value}" for name, value in sorted(report["policy"].items()))
    )
    percents = ("50", "90", "99", "99.9", "100")
    parts = [
        f"<h1>How fast</h1><p class=facts>{escape(facts)}</p>",
        table(scenarios),
        "<h2>Latency by percentile, ms</h2>",
        lines(
            {name: [s["latency_ms"].get(p, 0) for p in percents] for name, s in scenarios.items()},
            [f"p{percent}" if percent != "100" else "max" for percent in percents],
        ),
        "<h2>Orders by second of the run</h2>",
        lines({name: s["orders_by_second"] for name, s in scenarios.items()}),
        "<h2>Processor time per order, us</h2>",
        stacks(
            {name: [s["us_per_order"].get(p, 0) for p in PARTS] for name, s in scenarios.items()},
            PARTS,
        ),
        "<h2>Entries per commit</h2>",
        stacks({name: [s["batch_length"]] for name, s in scenarios.items()}, ("entries",)),
    ]
    if report["limits"]:
        parts += [
            "<h2>What the parts allow by themselves, a second</h2>",
            stacks({name: [rate] for name, rate in report["limits"].items()}, ("a second",)),
        ]
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>Trade engine: how fast</title><style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def table(scenarios: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures as a table."""
    rows = "".join(
        f"<tr><td title='{escape(made['about'])}'>{escape(name)}<td>{made['rate']:,.0f}"
        f"<td>{made['latency_ms'].get('50', 0):.1f}<td>{made['latency_ms'].get('99', 0):.1f}"
        f"<td>{made['batch_length']:.0f}<td>{escape(made['goal'])}"
        f"<td>{'yes' if made['reached'] else 'no'}"
        for name, made in scenarios.items()
    )
    return (
        "<table><tr><th>scenario<th>orders/s<th>p50 ms<th>p99 ms<th>entries per commit<th>goal"
        f"<th>reached{rows}</table>"
    )


def lines(series: Mapping[str, Sequence[float]], names: Sequence[str] | None = None) -> str:
    """Return one line per series, over the same steps."""
    steps = max((len(values) for values in series.values()), default=0)
    most = max((max(values, default=0) for values in series.values()), default=0) or 1
    wide = (WIDTH - LEFT) / max(1, steps - 1)
    drawn = "".join(
        f"<polyline fill=none stroke-width=2 stroke='{colour}' points='"
        + " ".join(f"{LEFT + n * wide:.1f},{height(value, most):.1f}" for n, value in enumerate(v))
        + f"'><title>{escape(name)}</title></polyline>"
        for (name, v), colour in zip(series.items(), _colours(), strict=False)
    )
    labels = "".join(
        f"<text x={min(LEFT + n * wide, WIDTH - 30):.0f} y={HEIGHT - 14}>{escape(name)}</text>"
        for n, name in enumerate(names or [str(step + 1) for step in range(steps)])
    )
    return picture(drawn + labels, most, list(series))


def stacks(bars: Mapping[str, Sequence[float]], parts: Sequence[str]) -> str:
    """Return one stacked bar per name."""
    most = max((sum(values) for values in bars.values()), default=0) or 1
    wide = (WIDTH - LEFT) / max(1, len(bars))
    drawn = ""
    for n, (name, values) in enumerate(bars.items()):
        base = 0.0
        for part, value, colour in zip(parts, values, _colours(), strict=False):
            top, bottom = height(base + value, most), height(base, most)
            drawn += (
                f"<rect x={LEFT + n * wide + wide * 0.15:.1f} y={top:.1f} width={wide * 0.7:.1f} "
                f"height={bottom - top:.1f} fill='{colour}'>"
                f"<title>{escape(name)}, {escape(part)}: {value:,.1f}</title></rect>"
            )
            base += value
        drawn += (
            f"<text x={LEFT + n * wide + wide / 2:.0f} y={HEIGHT - 14} text-anchor=middle>"
            f"{escape(name)}</text><text x={LEFT + n * wide + wide / 2:.0f} "
            f"y={height(base, most) - 3:.0f} text-anchor=middle>{base:,.0f}</text>"
        )
    return picture(drawn, most, list(parts) if len(parts) > 1 else [])


def picture(inside: str, most: float, legend: Sequence[str]) -> str:
    """Return a plot: its axis, what is drawn in it, and what the colours are."""
    grid = "".join(
        f"<line class=axis x1={LEFT} x2={WIDTH} y1={height(share * most, most):.1f} "
        f"y2={height(share * most, most):.1f} />"
        f"<text x={LEFT - 6} y={height(share * most, most) + 4:.0f} text-anchor=end>"
        f"{share * most:,.0f}</text>"
        for share in (0, 0.5, 1)
    )
    names = " ".join(
        f"<span style='color:{colour}'>&#9632;</span> {escape(name)}"
        for name, colour in zip(legend, _colours(), strict=False)
    )
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img>{grid}{inside}</svg><p>{names}</p>"


def height(value: float, most: float) -> float:
    """Return where a value lies in the picture."""
    return HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - TOP - 12)


def _colours() -> Sequence[str]:
    return COLOURS
