"""Memory and descriptors of processes over time: measured, judged, drawn."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape

import psutil

MB = 1 << 20
# The first part of a run does not count: caches fill, the allocator finds its size.
WARM_UP = 0.4
# What is measured has noise: growth below this share, or this many bytes, is none.
GROWTH_SHARE = 0.05
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")


@dataclass
class Series:
    """One process, or a server with its children: (seconds, bytes of its own, descriptors)."""

    points: list[tuple[float, int, int]] = field(default_factory=list)

    def settled(self) -> list[tuple[float, int, int]]:
        """Return the points after the warm-up."""
        return self.points[int(len(self.points) * WARM_UP) :]

    @property
    def growth(self) -> tuple[int, int]:
        """Return by how many bytes and descriptors it grew after the warm-up.

        Medians of the first and the last third of that time are compared, so that single peaks do
        not count.
        """
        settled = self.settled()
        third = max(1, len(settled) // 3)
        first, last = settled[:third], settled[-third:]
        return (
            round(_median(p[1] for p in last) - _median(p[1] for p in first)),
            round(_median(p[2] for p in last) - _median(p[2] for p in first)),
        )

    def grows(self, tolerance_bytes: int) -> bool:
        """Tell whether it grows by more than noise."""
        memory, descriptors = self.growth
        level = _median(p[1] for p in self.settled())
        return memory > max(tolerance_bytes, GROWTH_SHARE * level) or descriptors > 20


def _median(values: Iterable[int]) -> float:
    return statistics.median(values)


def measure(pid: int) -> tuple[int, int]:
    """Return bytes that only this process and its children have, and their descriptors.

    Raises psutil.NoSuchProcess.
    """
    root = psutil.Process(pid)
    memory = descriptors = 0
    for process in (root, *root.children(recursive=True)):
        try:
            memory += process.memory_full_info().uss
            descriptors += process.num_fds()
        except psutil.NoSuchProcess:
            if process is root:
                raise
    return memory, descriptors


def svg(series: Mapping[str, Series], title: str) -> str:
    """Return a drawing: megabytes of each process over minutes."""
    width, height, left, top = 760, 360, 60, 40
    last_s = max((s.points[-1][0] for s in series.values() if s.points), default=1.0)
    most = 1.1 * max((p[1] for s in series.values() for p in s.points), default=MB)

    def x(seconds: float) -> float:
        return left + seconds / last_s * (width - left - 20)

    def y(memory: float) -> float:
        return top + (1 - memory / most) * (height - top - 40)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 30}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height + 30}" fill="white"/>',
        f'<text x="{left}" y="20" font-size="14">{escape(title)}</text>',
        f'<rect x="{left}" y="{top}" width="{x(last_s * WARM_UP) - left:.1f}" '
        f'height="{y(0) - top:.1f}" fill="#f2f2f2"/>',
        f'<text x="{left + 4}" y="{top + 12}" fill="#888">warm-up</text>',
    ]
    for step in range(5):
        level = most * step / 4
        parts.append(
            f'<line x1="{left}" x2="{width - 20}" y1="{y(level):.1f}" y2="{y(level):.1f}" '
            f'stroke="#ddd"/><text x="{left - 6}" y="{y(level) + 4:.1f}" text-anchor="end">'
            f"{level / MB:.0f} MB</text>"
        )
        minutes = last_s * step / 4
        parts.append(
            f'<text x="{x(minutes):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle">'
            f"{minutes / 60:.1f} min</text>"
        )
    for number, (name, one) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x(s):.1f},{y(memory):.1f}" for s, memory, _ in one.points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts.append(
            f'<text x="{left + 110 * number}" y="{height + 15}" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])
