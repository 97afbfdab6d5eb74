"""What sections of docs/performance.md are made of: facts, tables, plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results import Benchmark, Folder
from table import markdown

ABSENT = "–"  # noqa: RUF001


@dataclass
class Plot:
    """A plot beside the page: a function of plots.py, and what it is given."""

    name: str
    says: str
    kind: str
    given: tuple[Any, ...]

    def draw(self, path: Path) -> None:
        """Draws it; matplotlib is needed from here on."""
        import plots

        getattr(plots, self.kind)(path, *self.given)


@dataclass
class Section:
    """A part of the page with its title, its table, and what is said before and after."""

    title: str
    before: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    plot: Plot | None = None
    level: int = 3

    def text(self) -> str:
        """As Markdown."""
        plot = [f"![{self.plot.says}](performance/{self.plot.name})"] if self.plot else []
        parts = ["\n".join(part) for part in (self.before, self.table, self.after, plot) if part]
        return "\n\n".join([f"{'#' * self.level} {self.title}", *parts]) + "\n"


def figure(value: float | None, scale: float = 1) -> str:
    """Three digits, a dash where nothing was measured."""
    if value is None:
        return ABSENT
    value *= scale
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def size_name(size: int) -> str:
    """A size as a power of ten."""
    exponent = len(str(size)) - 1
    digits = f"{size / 10**exponent:.2g}"
    power = "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(exponent))
    return power if digits == "1" else f"{digits}·{power}"


def facts(context: dict[str, Any]) -> str:
    """What is known of a run, of its file's context."""
    names = ("device", "cpu_model", "cpu_isa", "threads", "torch", "compiler", "date", "commit")
    known = [f"{name.replace('_', ' ')} {context[name]}" for name in names if name in context]
    if context.get("uncommitted_changes"):
        known.append("with uncommitted changes")
    return ", ".join(known)


def curves(
    folder: Folder, file: str, what: str, counter: str = "ratio"
) -> dict[int, list[tuple[int, float]]]:
    """The fraction of the floor by K, over N; or another counter."""
    found: dict[int, list[tuple[int, float]]] = {}
    for name, each in folder.of(file, what):
        if name.tasks and name.size and counter in each:
            found.setdefault(name.tasks, []).append((name.size, each[counter]))
    return found


def grid(found: dict[int, list[tuple[int, float]]]) -> list[str]:
    """A table of curves: a row a K, a column an N."""
    sizes = sorted({size for points in found.values() for size, _ in points})
    rows = [
        [str(k), *(figure(dict(points).get(size)) for size in sizes)]
        for k, points in sorted(found.items())
    ]
    return markdown(["K \\ N", *map(size_name, sizes)], rows)


def times_of(benchmark: Benchmark, peer: str) -> float | None:
    """How many times as long a contender took."""
    return benchmark.get(f"{peer}.times")
