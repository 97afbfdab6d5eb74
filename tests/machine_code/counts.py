"""What a kernel's hot loop takes: instructions by kind, accesses, how long a warp alone needs."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loops import Loop, loops
from occupancy import blocks_at_a_time
from sass import STREAMS, Instruction, streamed
from timing import Latencies, cycles_alone, is_double
from tools import Kernel


@dataclass(frozen=True)
class Case:
    """A kernel at one K, and what is expected of it; policy.toml says what each field means."""

    name: str
    kernel: str
    loads: int
    stores: int
    parameters: int
    instructions: float
    blocks: int
    tensor: int = 0
    of: str = "thread"
    inner_turns: int = 1
    staged_bytes: int = 0
    avoid: tuple[str, ...] = ("CALL",)


def cases() -> list[Case]:
    """The hot kernels."""
    policy = Path(__file__).with_name("policy.toml").read_text()
    table = tomllib.loads(policy)["case"]
    return [Case(**each | {"avoid": tuple(each.get("avoid", ["CALL"]))}) for each in table]


def hot_loop(
    kernel: Kernel, avoid: tuple[str, ...] = ("CALL",), tensor: bool = False
) -> Loop | None:
    """The loop with the most 128-bit accesses a turn outside of the loops inside it; of equals
    that with the longest turn. Of those alone that use tensor cores, if it is `tensor`."""
    found = [
        each
        for each in loops(kernel.code.blocks())
        if not tensor or any(map(is_tensor, each.turn(avoid)))
    ]
    weights = [(streamed(each.turn(avoid, 0)), len(each.turn(avoid))) for each in found]
    most = max(weights, default=(0, 0))
    return found[weights.index(most)] if most[0] else None


def is_tensor(instruction: Instruction) -> bool:
    """Whether tensor cores do it."""
    return instruction.name in KINDS["tensor"]


KINDS = {
    "fp32": ("FADD", "FMUL", "FFMA", "FSETP", "FSEL", "FMNMX", "FCHK"),
    "special": ("MUFU",),
    "tensor": ("HMMA",),
    "shared memory": ("LDS", "STS"),
    "global memory": STREAMS,
}


def kind_of(instruction: Instruction) -> str:
    """What an instruction is for, roughly; integers, moves and branches are the rest."""
    if is_double(instruction):
        return "double"
    return next((kind for kind, names in KINDS.items() if instruction.name in names), "other")


def counted(kernel: Kernel, case: Case) -> dict[str, Any]:
    """The counts of a case, a turn of its hot loop unless they say otherwise."""
    loop = hot_loop(kernel, case.avoid, case.tensor > 0)
    if loop is None:
        raise ValueError("no loop with 128-bit accesses to global memory")
    turn = loop.turn(case.avoid, case.inner_turns)
    threads = kernel.resources.threads
    of_block = case.parameters * (1 if case.of == "block" else threads)
    return {
        "name": case.name,
        "kernel": kernel.name,
        "threads": threads,
        "registers": kernel.resources.registers,
        "shared": kernel.resources.shared,
        "blocks": blocks_at_a_time(kernel.resources),
        "parameters_of_block": of_block,
        "instructions": len(turn),
        "by_kind": dict(sorted(Counter(map(kind_of, turn)).items())),
        "loads": streamed(turn, ("LDG", "LDGSTS")),
        "stores": streamed(turn, ("STG",)),
        "instructions_a_parameter": round(len(turn) * threads / of_block, 2),
        "cycles_alone": cycles_alone(turn, Latencies()),
        "staged_bytes": case.staged_bytes,
    }
