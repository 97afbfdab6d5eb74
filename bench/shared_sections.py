"""The sections of docs/performance.md that GPUs and CPUs have alike."""

from __future__ import annotations

from page import Plot, Section, curves, facts, figure, grid, size_name
from peers import besides
from results import Folder
from table import markdown, rivals

STAGES = {"gram": "gram", "update/AdamW": "update", "step/AdamW": "step"}


def floors(folder: Folder, file: str, step: str, floor: str) -> Section:
    """The fraction of the floor against N and K."""
    panels = {title: curves(folder, file, what) for what, title in STAGES.items()}
    lines = []
    for title, found in panels.items():
        lines += [f"**{title}**", "", *grid(found), ""]
    if reading := curves(folder, file, "gram", "read.times"):
        lines += ["**gram, of a program that only reads**", "", *grid(reading), ""]
    if empty := curves(folder, file, "step/AdamW", "empty.times"):
        lines += ["**three empty launches, of a step**", "", *grid(empty), ""]
    return Section(
        "Of floor, by K and N",
        [f"AdamW; *step* is {step} ({folder.link(file)})."],
        lines[:-1],
        plot=Plot(
            f"{folder.name}-floor.svg",
            "of floor over N, a line a K",
            "fractions",
            (panels, f"of {floor}"),
        ),
    )


def variants(folder: Folder, file: str) -> Section:
    """Many tensors, matrices, and what else is measured apart."""
    rows = []
    for name, each in folder.benchmarks[file]:
        if name.variant in ("", "warm"):  # which have tables of their own
            continue
        if name.what.partition("/")[0] in ("gram", "update", "step"):
            where = [name.what, str(name.tasks or 1), size_name(name.size or 0), name.variant]
            ours = [figure(each["seconds"], 1e3), figure(each.get("ratio"))]
            rows.append([*where, *ours, rivals(each).replace("|", "")])
    header = ["stage", "K", "N", "", "ms", "of floor", "beside it: times as long"]
    title = "Many tensors, and other cases"
    return Section(title, [f"From {folder.link(file)}."], markdown(header, rows))


def weights(folder: Folder, file: str) -> Section:
    """How long a solve takes."""
    found: dict[str, dict[str, float]] = {}
    for name, each in folder.benchmarks[file]:
        if name.what.startswith("weights/"):
            column = f"{name.tasks}" + (", 256 matrices" if name.variant else "")
            found.setdefault(name.what.removeprefix("weights/"), {})[column] = each["seconds"]
    columns = ["2", "4", "8", "16", "32", "64", "8, 256 matrices"]
    rows = [
        [method, *(figure(seconds.get(column), 1e6) for column in columns)]
        for method, seconds in found.items()
    ]
    said = [f"Microseconds, K by column, from {folder.link(file)}; Gram matrix on the device."]
    return Section("Weights of a Gram matrix", said, markdown(["method", *columns], rows))


def beside_others(folder: Folder, device: str) -> Section:
    """Optimizers and aggregators that people use, in one run with ours."""
    found = list(besides(folder, device))
    rows = [
        [each.peer.title, each.extent, figure(each.times) if each.times else "not measured"]
        for each in found
    ]
    bars = [(each.title, each.times) for each in found if each.times]
    context = (folder.file("torch") or {"context": {}})["context"]
    files = [folder.link(name) for name in ("torch", "compiled") if folder.file(name)]
    left_out = [f"- {what}: {why}" for what, why in context.get("left_out", {}).items()]
    return Section(
        "Beside others",
        [f"From {', '.join(files)}: {facts(context)}."],
        markdown(["peer", "", "times as long"], rows),
        ["Left out in that run:", "", *left_out] if left_out else [],
        plot=Plot(
            f"{folder.name}-peers.svg",
            "how many times as long peers take",
            "speed_ups",
            (bars,),
        ),
    )
