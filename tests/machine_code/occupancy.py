"""How many blocks of a kernel a multiprocessor holds at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What a block of a kernel takes."""

    threads: int
    registers: int  # a thread
    shared: int  # bytes, fixed in the source
    stack: int  # bytes of local memory a thread
    local: int


@dataclass(frozen=True)
class Multiprocessor:
    """What one has to give. CUDA C++ Programming Guide, "Technical Specifications per Compute
    Capability"."""

    registers: int = 65536
    register_unit: int = 256  # registers a warp is given at a time
    shared: int = 228 * 1024
    shared_unit: int = 128
    shared_reserved: int = 1024  # bytes of every block that the system keeps
    threads: int = 2048
    blocks: int = 32


SM_90 = Multiprocessor()


def blocks_at_a_time(kernel: Resources, sm: Multiprocessor = SM_90) -> int:
    """The least of what registers, shared memory, threads and the number of blocks allow."""
    warps = -(-kernel.threads // 32)
    a_warp = -(-kernel.registers * 32 // sm.register_unit) * sm.register_unit
    shared = -(-(kernel.shared + sm.shared_reserved) // sm.shared_unit) * sm.shared_unit
    # Registers lie in four parts, each of which serves every fourth warp.
    warps_by_registers = sm.registers // 4 // a_warp * 4
    return min(
        warps_by_registers // warps,
        sm.shared // shared,
        sm.threads // (warps * 32),
        sm.blocks,
    )
