#!/usr/bin/env python3
"""Reads the machine code of the gram and update stages and fails where a kernel is not as expected.

check.py OBJECT ... [--architecture sm_90] [--counts FILE]

Every kernel: 128-bit accesses to global memory, nothing in local memory, in updates no double
precision and no fma that the source does not have (streams.py). The hot ones besides: how many
loads, stores and instructions, how many blocks at a time (policy.toml). --counts writes what was
counted of these, for bench/model.py. Exit status 77: the tools are not here, or the objects have no
code for the architecture.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import streams
from counts import Case, cases, counted
from timing import Latencies
from tools import Kernel, NoToolsError, plain_names, read

SKIPPED = 77


def beyond_policy(case: Case, counts: dict[str, Any]) -> list[str]:
    """Where a hot kernel is not what its case says."""
    wrong = []
    for what in ("loads", "stores"):
        got, expected = counts[what], getattr(case, what)
        if got != expected:
            wrong.append(f"got {got} 128-bit {what} a turn, expected {expected}")
    if counts["instructions_a_parameter"] > case.instructions:
        wrong.append(
            f"got {counts['instructions_a_parameter']} instructions a parameter, expected at most "
            f"{case.instructions}"
        )
    tensor = counts["by_kind"].get("tensor", 0)
    if tensor != case.tensor:
        wrong.append(f"got {tensor} multiplications by tensor cores a turn, expected {case.tensor}")
    if counts["by_kind"].get("double"):
        wrong.append(f"{counts['by_kind']['double']} double-precision instructions in the hot loop")
    if counts["blocks"] < case.blocks:
        wrong.append(
            f"{counts['blocks']} blocks at a time for {counts['registers']} registers and "
            f"{counts['shared']} bytes of shared memory, expected {case.blocks}"
        )
    return wrong


def checked(kernels: list[Kernel], ptx: str) -> tuple[list[str], list[dict[str, Any]]]:
    """All complaints, and the counts of the hot kernels."""
    wrong = [f"{each.name}: {text}" for each in kernels for text in streams.complaints(each)]
    fused = plain_names(streams.contracted(ptx))
    wrong += [f"{name}: an fma that the source does not have" for name in fused.values()]
    counts = []
    for case in cases():
        found = [each for each in kernels if each.name == case.kernel]
        if len(found) != 1:
            wrong.append(f"{case.name}: got {len(found)} kernels {case.kernel}, expected one")
            continue
        try:
            counts.append(counted(found[0], case))
        except ValueError as error:
            wrong.append(f"{case.name}: {error}")
        else:
            wrong += [f"{case.name}: {text}" for text in beyond_policy(case, counts[-1])]
    return wrong, counts


def main() -> int:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("objects", nargs="+", type=Path)
    parser.add_argument("--architecture", default="sm_90")
    parser.add_argument("--counts", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        kernels, ptx = read(arguments.objects, arguments.architecture)
    except NoToolsError as missing:
        print(missing)
        return SKIPPED
    if not kernels:
        print(f"the objects have no code for {arguments.architecture}")
        return SKIPPED
    wrong, counts = checked(kernels, ptx)
    if arguments.counts:
        facts = {"architecture": arguments.architecture, "latencies": Latencies().as_facts()}
        arguments.counts.write_text(json.dumps({**facts, "kernels": counts}, indent=1) + "\n")
    for each in counts:
        print(
            f"{each['name']:>20}: {each['instructions_a_parameter']:7.1f} instructions a parameter"
        )
    print("\n".join(wrong))
    print(f"{len(kernels)} kernels for {arguments.architecture}, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
