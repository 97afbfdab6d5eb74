#!/usr/bin/env python3
"""Writes docs/performance.md and its plots from what lies in bench/results.

bench/performance.py [--check]      --check: only says whether the page is what it would write

The page needs no package; the plots need matplotlib. Where there is none, --check looks at the page
alone and says so.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import cpu_page
import gpu_page
from page import Section
from provenance import ROOT
from results import folders

DOCS = ROOT / "docs"
PLOTS = DOCS / "performance"
INTRODUCTION = """\
# Performance

Written by `bench/performance.py` from the files in [bench/results](../bench/results), which every
section names. What the benchmarks time, and how, is in [bench/README.md](../bench/README.md).

*Of floor* is the time of a plain program that moves as many bytes, measured in the same rounds, by
ours: 1 where nothing is lost. *Times as long* is a peer's time by ours, a median of the rounds'
ratios. A dash stands for what was not measured; sections on GPUs and on CPUs share no figure.
"""


def sections() -> list[Section]:
    """The page's sections: GPUs, then kernels that wait for one, then CPUs."""
    found = folders()
    gpus = [section for each in found if each.file("cuda") for section in gpu_page.measured(each)]
    counts = [
        section
        for each in found
        if each.file("machine_code") and not each.file("cuda")
        for section in gpu_page.counted(each)
    ]
    cpus = [section for each in found if each.file("cpu") for section in cpu_page.measured(each)]
    return [*gpus, *counts, *cpus]


def text_of(all_sections: Iterable[Section]) -> str:
    """The page."""
    return "\n".join([INTRODUCTION, *(section.text() for section in all_sections)]).rstrip() + "\n"


def differing(all_sections: list[Section]) -> list[str]:
    """What in docs is not what would be written."""
    page = DOCS / "performance.md"
    wrong = []
    if not page.exists() or page.read_text() != text_of(all_sections):
        wrong.append(str(page.relative_to(ROOT)))
    if importlib.util.find_spec("matplotlib") is None:
        print("the plots are not checked: no matplotlib here")
        return wrong
    with TemporaryDirectory() as folder:
        written = draw(all_sections, Path(folder))
        for path in written:
            there = PLOTS / path.name
            if not there.exists() or there.read_bytes() != path.read_bytes():
                wrong.append(str(there.relative_to(ROOT)))
        names = {path.name for path in written}
    wrong += [str(p.relative_to(ROOT)) for p in PLOTS.glob("*") if p.name not in names]
    return wrong


def draw(all_sections: Iterable[Section], folder: Path) -> list[Path]:
    """All plots, into a folder."""
    paths = []
    for section in all_sections:
        if section.plot:
            paths.append(folder / section.plot.name)
            section.plot.draw(paths[-1])
    return paths


def main() -> None:
    """Writes or checks."""
    all_sections = sections()
    if "--check" in sys.argv[1:]:
        if wrong := differing(all_sections):
            sys.exit(f"not what bench/results says: {', '.join(wrong)}: run bench/performance.py")
        return
    (DOCS / "performance.md").write_text(text_of(all_sections))
    draw(all_sections, PLOTS)


if __name__ == "__main__":
    main()
