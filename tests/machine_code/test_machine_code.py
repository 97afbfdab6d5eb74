"""The reader of machine code on a small kernel, and the checks on the same kernel spoiled."""

from __future__ import annotations

from pathlib import Path

import pytest

import streams
from check import beyond_policy
from counts import Case, counted, hot_loop
from loops import loops
from occupancy import Resources, blocks_at_a_time
from sass import Function, Instruction, functions, streamed
from timing import Latencies, cycles_alone
from tools import Kernel, resources_of, threads_of

TEXT = Path(__file__).with_name("sample.sass").read_text()
UPDATE = "UpdateBody<SgdUpdate<false>, WeightedSum<Float32, 1>>"
CASE = Case("sample", UPDATE, loads=2, stores=1, parameters=4, instructions=9, blocks=8)
RESOURCES = Resources(threads=256, registers=22, shared=0, stack=0, local=0)


def kernel(text: str = TEXT, resources: Resources = RESOURCES) -> Kernel:
    """The sample under an update's name, which has as many streams."""
    (code,) = functions(text)
    return Kernel(UPDATE, code, resources)


def names_of(instructions: list[Instruction]) -> str:
    """Opcodes without modifiers, in order."""
    return " ".join(each.name for each in instructions)


def test_functions_are_read_with_labels_and_subroutines() -> None:
    code: Function = kernel().code
    assert code.name == "sample"
    assert len(code.instructions) == 80
    assert code.instructions[code.labels[".L_x_4"]].opcode == "LDC.64"
    assert [each.bytes for each in code.instructions if each.name == "LDG"] == [16, 16]


def test_loops_are_found_one_in_the_other() -> None:
    outer, inner = loops(kernel().code.blocks())  # not what a subroutine is padded with
    assert outer.inner == [inner]


def test_a_turn_leaves_out_what_is_seldom_called() -> None:
    _, inner = loops(kernel().code.blocks())
    assert names_of(inner.turn()) == (
        "LDG IADD3 BSSY ISETP IADD3 MUFU FMUL FMUL ISETP FMUL FADD FADD FADD BRA "
        "FMUL FMUL FFMA FFMA BSYNC FADD IMAD BRA"
    )


@pytest.mark.parametrize("inner_turns", [0, 1, 3])
def test_turns_inside_count_as_often_as_they_are_taken(inner_turns: int) -> None:
    loop = hot_loop(kernel())
    assert loop is not None
    turn = loop.turn(inner_turns=inner_turns)
    assert len(turn) == 12 + 22 * inner_turns
    assert streamed(turn) == 2 + inner_turns


def test_counts_of_a_turn() -> None:
    counts = counted(kernel(), CASE)
    assert counts["instructions"] == 34
    assert counts["instructions_a_parameter"] == 8.5
    assert counts["by_kind"] == {"fp32": 11, "global memory": 3, "other": 19, "special": 1}
    assert (counts["loads"], counts["stores"], counts["blocks"]) == (2, 1, 8)


def test_a_warp_waits_for_what_it_reads() -> None:
    apart = functions(section("LDG.E.128 R4, [R2.64]", "LDG.E.128 R8, [R2.64]", "FADD R0, R4, R11"))
    in_turn = functions(section("LDG.E.128 R4, [R2.64]", "FADD R2, R4, R4", "LDG.E R8, [R2.64]"))
    waits = Latencies(memory=100, arithmetic=4)
    assert cycles_alone(next(apart).instructions, waits) == 1 + 100 + 1
    assert cycles_alone(next(in_turn).instructions, waits) == 100 + 4 + 1


def section(*instructions: str) -> str:
    """A disassembly of these instructions."""
    return '\t.section\t.text.some,"ax"\n' + "".join(f"  /*00*/ {i} ;\n" for i in instructions)


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks"),
    [
        (256, 32, 0, 8),  # by threads
        (256, 33, 0, 6),  # by registers, of which a warp gets 1280
        (256, 62, 0, 4),
        (288, 119, 0, 1),  # 16 warps fit, two blocks have 18
        (96, 128, 33872, 5),
        (64, 32, 33872, 6),  # by shared memory
        (32, 16, 0, 32),
    ],
)
def test_blocks_at_a_time(threads: int, registers: int, shared: int, blocks: int) -> None:
    assert blocks_at_a_time(Resources(threads, registers, shared, 0, 0)) == blocks


def test_what_the_tools_print() -> None:
    usage = " Function f:\n  REG:30 STACK:0 SHARED:16 LOCAL:8 CONSTANT[0]:564 TEXTURE:0\n"
    assert resources_of(usage)["f"]["REG"] == 30
    assert resources_of(usage)["f"]["LOCAL"] == 8
    assert threads_of(".entry f(\n .param .u64 p\n)\n.maxntid 256\n.minnctapersm 1\n{") == {
        "f": 256
    }


def test_a_good_kernel_is_no_cause_to_complain() -> None:
    assert streams.complaints(kernel()) == []
    assert beyond_policy(CASE, counted(kernel(), CASE)) == []


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("LDG.E.128 R4", "LDG.E.64 R4", "got 1 128-bit loads"),
        ("STG.E.128", "STG.E", "got 0 128-bit stores"),
        ("FADD.FTZ R4", "DADD R4", "1 double-precision"),
        ("FADD.FTZ R4, -R17, R4", "STL [R1], R4", "1 accesses to local memory"),
    ],
)
def test_a_spoiled_kernel_is_seen(good: str, bad: str, complaint: str) -> None:
    assert good in TEXT
    (text,) = streams.complaints(kernel(TEXT.replace(good, bad)))
    assert text.startswith(complaint)


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("LDG.E.128 R4", "LDG.E.64 R4", "got 1 128-bit loads"),
        ("BSYNC B0 ;", "BSYNC B0 ;\n  /*0*/ NOP ;\n  /*0*/ NOP ;\n  /*0*/ NOP ;", "got 9.25 instr"),
        ("FADD.FTZ R4", "DADD R4", "1 double-precision"),
        ("FADD.FTZ R4", "HMMA.16816.F32 R4", "got 1 multiplications by tensor cores"),
    ],
)
def test_a_kernel_beyond_its_policy_is_seen(good: str, bad: str, complaint: str) -> None:
    (text,) = beyond_policy(CASE, counted(kernel(TEXT.replace(good, bad)), CASE))
    assert text.startswith(complaint)


def test_a_kernel_without_wide_accesses_has_no_hot_loop() -> None:
    narrow = kernel(TEXT.replace(".128", ""))
    with pytest.raises(ValueError, match="no loop with 128-bit accesses"):
        counted(narrow, CASE)


def test_more_registers_leave_fewer_blocks() -> None:
    hungry = Resources(threads=256, registers=33, shared=0, stack=0, local=0)
    (text,) = beyond_policy(CASE, counted(kernel(resources=hungry), CASE))
    assert text.startswith("6 blocks at a time for 33 registers")


def test_stack_is_local_memory() -> None:
    spilled = Resources(threads=256, registers=22, shared=0, stack=8, local=0)
    assert streams.complaints(kernel(resources=spilled)) == [
        "0 accesses to local memory, 8 bytes of stack"
    ]


def test_fma_that_no_source_has_is_seen_in_updates_alone() -> None:
    ptx = ".visible .entry _Z1{0}(\n)\n{{\n fma.rn.ftz.f32 %f1, %f2, %f3, %f4;\n}}\n"
    assert streams.contracted(ptx.format("UpdateBody")) == ["_Z1UpdateBody"]
    assert streams.contracted(ptx.format("GramBody")) == []


def test_an_update_that_nobody_told_of_is_an_error() -> None:
    with pytest.raises(ValueError, match="NewUpdate: an update this check does not know"):
        streams.streams_of("UpdateBody<NewUpdate, WeightedSum<Float32, 1>>")
