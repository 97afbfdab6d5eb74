"""How long a warp alone takes for instructions: in order, each when its operands are there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sass import Instruction


@dataclass(frozen=True)
class Latencies:
    """Cycles until a result can be read. Rounded from what Luo et al. measured of an H100 (arXiv
    2402.13499): memory idle, as it is not when a kernel runs at its limit."""

    arithmetic: int = 4
    special: int = 20  # MUFU, conversions, double precision
    tensor: int = 33  # HMMA
    shared: int = 30
    constant: int = 30
    cached: int = 40  # narrow global loads: plan, segments, weights, which all threads read
    memory: int = 480  # 128-bit global loads: streams

    def of(self, instruction: Instruction) -> int:
        """The latency of one instruction."""
        match instruction.name:
            case "LDG":
                return self.memory if instruction.bytes == 16 else self.cached
            case "HMMA":
                return self.tensor
            case "LDS":
                return self.shared
            case "LDC" | "ULDC":
                return self.constant
            case "MUFU" | "F2F" | "F2I" | "I2F" | "S2R" | "S2UR" | "SHFL":
                return self.special
        return self.special if is_double(instruction) else self.arithmetic

    def as_facts(self) -> dict[str, int]:
        """As they go into a file."""
        return asdict(self)


def is_double(instruction: Instruction) -> bool:
    """Whether it computes in double precision."""
    double = re.fullmatch(r"D(ADD|MUL|FMA|SETP|MNMX)", instruction.name)
    return bool(double) or ".F64" in instruction.opcode


def registers(operand: str, words: int = 1) -> set[str]:
    """The registers of an operand, several where it is wider than one."""
    found: set[str] = set()
    for kind, number, suffix in re.findall(r"\b(U?R)(\d+)(\.64)?", operand):
        count = max(2 if suffix else 1, words)
        found.update(f"{kind}{int(number) + i}" for i in range(count))
    return found


def operands(instruction: Instruction) -> tuple[set[str], set[str]]:
    """The registers that it writes and that it reads."""
    first, _, rest = instruction.operands.partition(",")
    words = instruction.bytes // 4 if instruction.name in ("LDG", "LDS", "STG", "STS") else 1
    if is_double(instruction):
        words = 2
    if instruction.name == "HMMA":  # the right side has two
        words = 4
    if instruction.name in ("STG", "STS"):
        return set(), registers(first) | registers(rest, words)
    if instruction.name in ("LDG", "LDS"):
        return registers(first, words), registers(rest)
    if instruction.opcode.endswith(".64") or ".WIDE" in instruction.opcode:
        return registers(first, 2), registers(rest, words)
    return registers(first, words), registers(rest, words)


def cycles_alone(instructions: Iterable[Instruction], latencies: Latencies) -> int:
    """Cycles from the first instruction to the one after the last."""
    ready: dict[str, int] = {}
    now = 0
    for each in instructions:
        writes, reads = operands(each)
        now = max([now, *(ready.get(register, 0) for register in reads)])
        for register in writes:
            ready[register] = now + latencies.of(each)
        now += 1
    return now
