"""The sections of docs/performance.md on a GPU."""

from __future__ import annotations

import re
import sys
from typing import Any

import model
from page import ABSENT, Section, facts, figure, size_name
from provenance import ROOT
from results import Folder
from shared_sections import beside_others, floors, variants, weights
from table import markdown

sys.path.insert(0, str(ROOT / "docs"))
import pages


def measured(folder: Folder) -> list[Section]:
    """What one run of scripts/gpu measured, and what it left out."""
    results = folder.file("cuda")
    assert results
    device = results["context"]["device"]
    head = Section(f"GPU: {device}", [run_facts(folder, results)], level=2)
    return [
        head,
        floors(folder, "cuda", "PCGrad with a clip, as a CUDA graph", "a copy's speed"),
        *small_steps(folder),
        variants(folder, "cuda"),
        beside_others(folder, "cuda"),
        prediction(folder, results),
        rules(folder),
        weights(folder, "cuda"),
        stages(folder),
    ]


def run_facts(folder: Folder, results: dict[str, Any]) -> str:
    """Which machine and which sources."""
    summary = folder.file("summary") or {}
    after = summary.get("devices_after", [{}])[0]
    clocks = ", ".join(
        f"{what} at {after[key]}"
        for what, key in (("multiprocessors", "clocks.sm"), ("memory", "clocks.mem"))
        if key in after
    )
    links = ", ".join(folder.link(name) for name in ("cuda", "torch", "summary"))
    return (
        f"From {links}: {facts(results['context'])}; driver {after.get('driver_version', ABSENT)}; "
        f"read after the run: {clocks}. Caches are flushed before every run; the floor is a device "
        "copy that reads and writes as many bytes. Later commits were not measured."
    )


MODEL = """\
The model ([bench/model.py](../bench/model.py)) takes the longest of three: bytes by a copy's
bandwidth, instructions by what the multiprocessors issue, turns of the hot loop by how long each
takes a warp alone. Launches, the last wave of blocks, shared memory and what load does to latency
are not in it. Reading alone is faster than copying, which lets gram beat it. Where a kernel takes
much longer than predicted, something that is not in the model stands in the way."""


def prediction(folder: Folder, results: dict[str, Any]) -> Section:
    """What the machine code lets one expect, beside what was measured."""
    counts, summary = folder.file("machine_code"), folder.file("summary")
    sold = model.DATASHEET.get(results["context"]["device"])
    if not counts or not summary or not sold:
        missing = "counts of the kernels" if sold else "the device in bench/model.py"
        return Section("Prediction beside measurement", [f"None: {missing} missing."])
    device = model.measured(sold, results, summary)
    times = {each["name"]: each for _, each in folder.benchmarks["cuda"]}
    rows = []
    for kernel in counts["kernels"]:
        for size in (1 << 26, 10**9):
            name = re.sub(r"(/K:\d+)", rf"\1/N:{size}", kernel["name"])
            each = times.get(f"cuda/{name}")
            if not each:
                continue
            told = model.predict(kernel, counts["latencies"], size, each["bytes"], device)
            cells = [kernel["name"], size_name(size), *terms(told), figure(each["seconds"], 1e3)]
            rows.append([*cells, figure(each["seconds"] / told.seconds)])
    header = ["kernel", "N", "bytes", "issue", "latency", "predicted ms", "by", "measured ms", ""]
    said = [
        f"From {folder.link('machine_code')}, {folder.link('cuda')}; "
        f"{device.bytes_a_second / 1e9:.0f} GB/s {device.bandwidth_is}. Milliseconds; in the last "
        "column, measured by predicted.",
        "",
        MODEL,
    ]
    return Section("Prediction beside measurement", said, markdown(header, rows))


def terms(told: model.Prediction) -> list[str]:
    """The cells of a prediction."""
    parts = [figure(value, 1e3) for value in (told.bytes, told.issue, told.latency, told.seconds)]
    return [*parts, told.by]


def small_steps(folder: Folder) -> list[Section]:
    """Steps of which launches take more than memory, and the plan alone; none of older runs."""
    plans = {(name.tasks, name.size): each for name, each in folder.of("cuda", "plan/AdamW")}
    rows = []
    for name, each in folder.of("cuda", "step/AdamW", "warm"):
        plan = plans.get((name.tasks, name.size), {})
        ours = [figure(each["seconds"], 1e6), figure(each["empty.seconds"], 1e6)]
        times = figure(each["seconds"] / each["empty.seconds"])
        cells = [*ours, times, figure(plan.get("seconds"), 1e6)]
        rows.append([str(name.tasks), size_name(name.size or 0), *cells])
    header = ["K", "N", "step", "three empty launches", "times as long", "plan alone, cold"]
    said = [
        f"Microseconds, from {folder.link('cuda')}. The step is a CUDA graph, replayed with caches "
        "as the replay before left them, and so are the empty launches; the plan begins with "
        "flushed caches, its own instructions among what is flushed."
    ]
    return [Section("Small steps", said, markdown(header, rows))] if rows else []


def rules(folder: Folder) -> Section:
    """Every rule, measured or not."""
    known = pages.listed(pages.PAGES[1].lists["Rules"], "Rules")
    names = [name for _, part in known for name in part]
    found = {
        name.what.removeprefix("update/"): each
        for name, each in folder.of("cuda", "update/[^/]+")
        if name.tasks == 1 and name.size == 1 << 26
    }
    rows = [
        [f"`{rule}`", figure(each["seconds"], 1e3), figure(each.get("ratio"))]
        for rule, each in sorted(found.items())
    ]
    of = {rule.split("(")[0] for rule in found}
    missing = [f"`{name}`" for name in names if name not in of]
    after = [f"Not measured on this device: {', '.join(missing)}."] if missing else []
    said = [f"One task, {size_name(1 << 26)} parameters, from {folder.link('cuda')}."]
    return Section("Rules", said, markdown(["rule", "ms", "of floor"], rows), after)


def stages(folder: Folder) -> Section:
    """How the tests and the sanitizers' tools ended."""
    summary = folder.file("summary") or {"stages": []}
    rows = [[s["name"], s["outcome"], figure(s["seconds"])] for s in summary["stages"]]
    said = [f"From {folder.link('summary')}."]
    return Section("Tests in that run", said, markdown(["stage", "outcome", "seconds"], rows))


def counted(folder: Folder) -> list[Section]:
    """Kernels as they stand, read from their machine code alone."""
    counts = folder.file("machine_code")
    assert counts
    device = model.DATASHEET["NVIDIA H200"]
    rows = []
    for kernel in counts["kernels"]:
        size = 1 << 26
        accesses = kernel["loads"] + kernel["stores"]
        of_turn = kernel["parameters_of_block"] / kernel["threads"]
        told = model.predict(
            kernel, counts["latencies"], size, size * accesses * 16 / of_turn, device
        )
        occupancy = f"{kernel['blocks']} of {kernel['threads']}"
        counted_cells = [figure(kernel["instructions_a_parameter"]), str(kernel["cycles_alone"])]
        cells = [kernel["name"], str(kernel["registers"]), occupancy, *counted_cells]
        rows.append([*cells, *terms(told)])
    header = ["kernel", "registers", "blocks of threads", "instructions", "cycles"]
    said = [
        f"From {folder.link('machine_code')}: commit {counts['commit']}, {counts['date']}. "
        "Instructions a parameter, summed over threads; cycles that a warp alone takes for a turn "
        f"of the hot loop; milliseconds predicted for {size_name(1 << 26)} parameters on an "
        f"{device.name} with its bandwidth {device.bandwidth_is}. **No time here is measured.** "
        "`tests/machine_code/policy.toml` limits what these kernels may take.",
    ]
    header += ["bytes", "issue", "latency", "predicted ms", "by"]
    title = f"Kernels as they stand, {counts['architecture']}"
    return [Section(title, said, markdown(header, rows), level=2)]
