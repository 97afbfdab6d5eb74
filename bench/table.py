"""Tables of what was measured, and the targets."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Benchmark = dict[str, Any]


@dataclass
class Target:
    """A figure to be reached by all benchmarks whose name matches."""

    what: str
    name: str  # regular expression for the whole name
    counter: str
    least: float


LARGE = "N:16777216"
GPU_LARGE = "N:(67108864|1000000000)"
PCGRAD = "torch/cpu/pcgrad.*"
PRECISIONS = "precision/.*/(.*master|remainder|kahan|bf16-(gradients|states))"
TARGETS = [
    Target("AdamW: of an in-place stream", f"update/AdamW/K:1/{LARGE}", "ratio", 1.00),
    Target("every rule: of its own streams", f"update/[^/]+/K:1/{LARGE}", "ratio", 0.93),
    Target("masters, 16-bit gradients or state", PRECISIONS, "ratio", 0.93),
    Target("stochastic rounding", "precision/.*/stochastic", "ratio", 0.85),
    Target("copy, mean and zeros beside a step", "precision/.*/all-outputs", "ratio", 0.93),
    Target("AdamW, 4096 segments of 1024", "update/AdamW/K:1/.*segments:4096", "ratio", 0.90),
    Target("AdamW, subnormal state: of normal speed", ".*/subnormal", "normal.times", 0.95),
    Target("gram, K = 2 to 8: of reading", f"gram/K:[248]/{LARGE}", "ratio", 0.95),
    Target("gram, K = 16: of reading", f"gram/K:16/{LARGE}", "ratio", 0.90),
    Target("gram: times ssyrk's speed", f"gram/K:[0-9]+/{LARGE}", "ssyrk.times", 4),
    Target("combine + AdamW: of reading K + 3 rows", f"update/.*{LARGE}", "read.times", 0.93),
    Target("PCGrad + AdamW: times in-place projections", PCGRAD, "in_place.times", 15),
    Target("PCGrad + AdamW: times J @ J.T and w @ J", PCGRAD, "matmul.times", 4),
    Target("AdamW, flat: times torch's", "torch/cpu/adamw/.*/tensors:1", "fused.times", 1),
    Target("AdamW, 4096 tensors: times torch's", "torch/cpu/.*/tensors:4096", "fused.times", 5),
    Target("GPU PCGrad + AdamW: times TorchJD's", "torch/cuda/pcgrad.*", "torchjd.times", 20),
    Target("GPU PCGrad + AdamW: times J @ J.T", "torch/cuda/pcgrad.*", "matmul.times", 2.5),
    Target("GPU AdamW, flat: times torch's", "torch/cuda/.*/tensors:1", "fused.times", 1),
    Target("GPU AdamW, 4096 tensors", "torch/cuda/.*/tensors:4096", "fused.times", 1.5),
    Target("solves: times TorchJD's speed", "torchjd/.*", "torchjd.times", 10),
    Target("GPU solves, K = 2 to 8: of 30 us", "cuda/weights/.*/K:[248]", "of_30_us", 1),
    Target("GPU update: of a copy", f"cuda/update/AdamW/.*/{GPU_LARGE}", "ratio", 0.92),
    Target("GPU, every rule: of a copy", "cuda/update/[^/]+/K:1/N:67108864", "ratio", 0.92),
    Target("GPU gram, K = 1 to 8: of a copy", f"cuda/gram/K:[1248]/{GPU_LARGE}", "ratio", 0.90),
    Target(
        "GPU gram, K = 1 to 8: of reading", f"cuda/gram/K:[1248]/{GPU_LARGE}", "read.times", 0.95
    ),
    Target("GPU gram, K = 16: of reading", f"cuda/gram/K:16/{GPU_LARGE}", "read.times", 0.85),
    Target(
        "GPU step: of 3 empty launches", "cuda/step/AdamW/K:2/N:100000/warm", "empty.times", 1 / 3
    ),
]


def cleaned(raw: dict[str, Any]) -> dict[str, Any]:
    """Google Benchmark's output without what it says about runs, of which there is one each, and
    without the host's name and paths."""
    context = {k: v for k, v in raw["context"].items() if k not in ("host_name", "executable")}
    boilerplate = {
        *("family_index", "per_family_instance_index", "run_name", "run_type", "repetitions"),
        *("repetition_index", "threads", "iterations", "real_time", "cpu_time", "time_unit"),
    }
    benchmarks = [
        {k: v for k, v in each.items() if k not in boilerplate}
        | {"name": each["name"].removesuffix("/iterations:1/manual_time")}
        for each in raw["benchmarks"]
    ]
    return {"context": context, "benchmarks": benchmarks}


def markdown(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    """The lines of a table that is as readable as it stands; numbers to the right."""
    table = [header, *rows]
    widths = [max(len(row[c]) for row in table) for c in range(len(header))]

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def aligned(row: list[str]) -> Iterable[str]:
        for cell, width in zip(row, widths, strict=True):
            yield cell.rjust(width) if re.match(r"[-0-9.]", cell) else cell.ljust(width)

    rule = line("-" * width for width in widths)
    return [line(aligned(header)), rule, *(line(aligned(row)) for row in table[1:])]


def figure(benchmark: Benchmark, counter: str, scale: float = 1) -> str:
    """A counter with three digits, "" where it is not there."""
    value = benchmark.get(counter)
    if value is None:
        return ""
    value *= scale
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def rivals(benchmark: Benchmark) -> str:
    """The other contenders: how many times as long they took, and what they did in that time."""
    names = [k.removesuffix(".times") for k in benchmark if k.endswith(".times")]
    parts = []
    for name in names:
        if name == "floor":
            continue
        facts = f"{figure(benchmark, f'{name}.seconds', 1e3)} ms"
        if f"{name}.GB/s" in benchmark:
            facts += f", {figure(benchmark, f'{name}.GB/s')} GB/s"
        parts.append(f"{name} {figure(benchmark, f'{name}.times')}x ({facts})")
    return "; ".join(parts)


def results_table(title: str, results: dict[str, Any]) -> list[str]:
    """What one program measured."""
    shown = ("device", "cpu_model", "cpu_isa", "threads", "compiler", "torch", "date", "commit")
    context = results["context"]
    facts = [f"{key} {context[key]}" for key in shown if key in context]
    rows = []
    for each in results["benchmarks"]:
        if each.get("error_occurred"):
            rows.append([each["name"], "", "", "", "", each["error_message"]])
            continue
        times = [figure(each, "seconds", 1e3), figure(each, "floor.seconds", 1e3)]
        speed = [figure(each, "GB/s"), figure(each, "ratio")]
        rows.append([each["name"], times[0], speed[0], times[1], speed[1], rivals(each)])
    header = ["benchmark", "ms", "GB/s", "floor ms", "of floor", "beside it: times as long"]
    return [f"**{title}**: {', '.join(facts)}", "", *markdown(header, rows)]


def targets_table(folder: Path) -> list[str]:
    """Which targets the results in a folder reach; a target of several benchmarks by its worst."""
    benchmarks = [
        each
        for path in sorted(folder.glob("*.json"))
        for each in json.loads(path.read_text())["benchmarks"]
    ]
    rows = []
    for target in TARGETS:
        found = [
            (each[target.counter], each["name"])
            for each in benchmarks
            if re.fullmatch(target.name, each["name"]) and target.counter in each
        ]
        if found:
            worst, where = min(found)
            reached = "reached" if worst >= target.least else "not reached"
            rows.append([target.what, f"{target.least:.2f}", f"{worst:.2f}", reached, where])
        else:
            rows.append([target.what, f"{target.least:.2f}", "", "not measured", ""])
    header = ["target", "at least", "worst", "", "measured by"]
    return ["**targets**", "", *markdown(header, rows)]
