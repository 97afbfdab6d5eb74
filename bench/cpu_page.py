"""The sections of docs/performance.md on a CPU."""

from __future__ import annotations

from page import Section, facts, figure, size_name, times_of
from results import Folder
from shared_sections import beside_others, floors, variants, weights
from table import markdown

LARGE = 1 << 24


def measured(folder: Folder) -> list[Section]:
    """What one run of bench/run measured."""
    results = folder.file("cpu")
    assert results
    context = results["context"]
    links = ", ".join(folder.link(name) for name in ("cpu", "torch", "torchjd"))
    said = (
        f"From {links}: {facts(context)}. The floor is a plain loop over the same arrays with as "
        "many reads and writes, for gram reading the rows once."
    )
    title = f"CPU: {context['cpu_model']}, {context['threads']} threads"
    return [
        Section(title, [said], level=2),
        floors(folder, "cpu", "PCGrad with a clip", "the floor's speed"),
        variants(folder, "cpu"),
        beside_libraries(folder),
        beside_others(folder, "cpu"),
        rules(folder),
        precisions(folder),
        weights(folder, "cpu"),
        solves(folder),
    ]


def beside_libraries(folder: Folder) -> Section:
    """OpenBLAS, and the same by hand, a pass an operation."""
    columns = {"gram": "ssyrk", "update/AdamW": "read", "step/AdamW": "unfused"}
    found: dict[int, dict[str, float | None]] = {}
    for what, peer in columns.items():
        for name, each in folder.of("cpu", what):
            if name.size == LARGE and name.tasks:
                found.setdefault(name.tasks, {})[peer] = times_of(each, peer)
    rows = [[str(k), *(figure(each.get(p)) for p in columns.values())] for k, each in found.items()]
    header = ["K", "gram: OpenBLAS' ssyrk", "update: reading K + 3 arrays", "step: by hand"]
    said = [f"Times as long, {size_name(LARGE)} parameters, from {folder.link('cpu')}."]
    return Section(
        "Beside OpenBLAS, bare reading and a pass an operation", said, markdown(header, rows)
    )


def rules(folder: Folder) -> Section:
    """Every rule, one task."""
    rows = [
        [
            f"`{name.what.removeprefix('update/')}`",
            figure(each["seconds"], 1e3),
            figure(each.get("ratio")),
            figure(times_of(each, "unfused")),
        ]
        for name, each in folder.benchmarks["cpu"]
        if name.what.startswith("update/")
        and name.tasks == 1
        and name.size == LARGE
        and not name.variant
    ]
    said = [
        f"One task, {size_name(LARGE)} parameters, from {folder.link('cpu')}. *By hand*: times as "
        "long, a pass over memory a line of the formula."
    ]
    header = ["rule", "ms", "of floor", "by hand"]
    return Section("Rules", said, markdown(header, rows))


def precisions(folder: Folder) -> Section:
    """Some rules with parameters, gradients and state of other types."""
    rules: list[str] = []
    found: dict[str, dict[str, float | None]] = {}
    for name, each in folder.benchmarks["cpu"]:
        kind, _, rule = name.what.partition("/")
        if kind != "precision":
            continue
        if rule not in rules:
            rules.append(rule)
        found.setdefault(name.variant, {})[rule] = each.get("ratio")
    rows = [[f"`{name}`", *(figure(of.get(rule)) for rule in rules)] for name, of in found.items()]
    said = [
        f"Of floor, which is a stream of as many bytes; one task, {size_name(LARGE)} parameters, "
        f"from {folder.link('cpu')}. *bf16* is of parameters and gradients unless it says more."
    ]
    header = ["stored as", *(f"`{rule}`" for rule in rules)]
    return Section("Precisions", said, markdown(header, rows))


def solves(folder: Folder) -> Section:
    """TorchJD's weightings."""
    found: dict[str, dict[int, float | None]] = {}
    for name, each in folder.benchmarks["torchjd"]:
        if name.tasks:
            method = name.what.removeprefix("torchjd/")
            found.setdefault(method, {})[name.tasks] = times_of(each, "torchjd")
    columns = (2, 4, 8, 16, 32, 64)
    rows = [[m, *(figure(times.get(k)) for k in columns)] for m, times in found.items()]
    said = [
        f"TorchJD's weighting of the same matrix, both from Python on one thread: times as "
        f"long, K by column, from {folder.link('torchjd')}."
    ]
    return Section("Weights beside TorchJD", said, markdown(["method", *map(str, columns)], rows))
