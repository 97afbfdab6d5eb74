"""Reads nvdisasm's text: functions, their instructions, and the blocks between branches."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

SECTION = re.compile(r"^\s*\.section\s+\.text\.([^,]+),")
LABEL = re.compile(r"^(\.?[\w$.]+):\s*$")
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]+)\*/\s+(?:(@!?U?P[T\d]+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
TARGET = re.compile(r"`\(([^)]+)\)")
JUMPS = ("BRA", "JMP", "BRX", "JMX")
STREAMS = ("LDG", "STG", "LDGSTS")
ENDS = ("EXIT", "RET", "BREAK", "KILL")


@dataclass(frozen=True)
class Instruction:
    """One machine instruction; its opcode with all modifiers, as LDG.E.128."""

    predicate: str
    opcode: str
    operands: str

    @property
    def name(self) -> str:
        """The opcode without modifiers."""
        return self.opcode.partition(".")[0]

    @property
    def bytes(self) -> int:
        """What one thread moves with it, if it accesses memory."""
        found = re.search(r"\.(128|64|[US]16|[US]8)\b", self.opcode)
        return int(found[1].lstrip("US")) // 8 if found else 4

    @property
    def target(self) -> str | None:
        """The label that it names."""
        found = TARGET.search(self.operands)
        return found[1] if found else None

    def conditional(self) -> bool:
        """Whether it may do nothing."""
        return self.predicate not in ("", "@PT")


def streamed(instructions: list[Instruction], names: Collection[str] = STREAMS) -> int:
    """How many 128-bit accesses to global memory there are."""
    return sum(each.name in names and each.bytes == 16 for each in instructions)


@dataclass
class Block:
    """Instructions that run one after another, and the blocks that may come next."""

    instructions: list[Instruction] = field(default_factory=list)
    next: list[int] = field(default_factory=list)

    def has(self, names: Collection[str]) -> bool:
        """Whether an instruction has one of these names."""
        return any(each.name in names for each in self.instructions)


@dataclass
class Function:
    """A kernel, with the subroutines in its section."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def blocks(self) -> list[Block]:
        """The kernel's blocks in order of address, the first its entry."""
        starts = {0, *self.labels.values()}
        for i, each in enumerate(self.instructions):
            if each.name in (*JUMPS, *ENDS):
                starts.add(i + 1)
        order = sorted(start for start in starts if start < len(self.instructions))
        index = {start: b for b, start in enumerate(order)}
        blocks = []
        for start, end in zip(order, [*order[1:], len(self.instructions)], strict=True):
            block = Block(self.instructions[start:end])
            last = block.instructions[-1]
            if last.name in JUMPS and last.target in self.labels:
                block.next.append(index[self.labels[last.target]])
            falls_through = last.name not in (*JUMPS, *ENDS) or last.conditional()
            # A branch may also depend on an operand: BRA P0, `(.L_1), or BRA.DIV.
            falls_through |= last.name in JUMPS and not last.operands.startswith("`(")
            if falls_through and end in index:
                block.next.append(index[end])
            blocks.append(block)
        return blocks


def functions(text: str) -> Iterator[Function]:
    """The functions of a disassembly."""
    function: Function | None = None
    for line in text.splitlines():
        if found := INSTRUCTION.match(line):
            if function:
                _, predicate, opcode, operands = found.groups()
                function.instructions.append(Instruction(predicate or "", opcode, operands))
        elif found := SECTION.match(line):
            if function:
                yield function
            function = Function(found[1])
        elif function and (found := LABEL.match(line)):
            function.labels[found[1]] = len(function.instructions)
        elif function and line.strip().startswith(".section"):
            yield function
            function = None
    if function:
        yield function
