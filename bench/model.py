"""What a kernel's machine code lets one expect of its time on a device.

Three things take time side by side, so the longest is a lower bound:
  bytes     what has to be moved, by the bandwidth of a copy
  issue     instructions, by what all schedulers issue
  latency   turns of the hot loop, one after another for each warp that a multiprocessor holds, each
            as long as a warp alone needs; of rows staged through shared memory, stages on their way
Not in it: launches, the last wave of blocks, shared memory, what load does to latency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Counts = dict[str, Any]


@dataclass(frozen=True)
class Device:
    """What a GPU can do."""

    name: str
    multiprocessors: int
    clock_hz: float
    bytes_a_second: float
    bandwidth_is: str  # whether measured, and how
    read_a_second: float | None = None  # bytes, of kernels that only read, where it was measured
    schedulers: int = 4  # each issues an instruction of a warp a cycle
    lanes: int = 32


# As sold; the clock is the highest. NVIDIA H200 datasheet; Hopper architecture whitepaper.
DATASHEET = {
    "NVIDIA H200": Device("NVIDIA H200", 132, 1.98e9, 4.8e12, "by its datasheet"),
    "NVIDIA H100 80GB HBM3": Device(
        "NVIDIA H100 80GB HBM3", 132, 1.98e9, 3.35e12, "by its datasheet"
    ),
}


@dataclass(frozen=True)
class Prediction:
    """Seconds that each of the three takes."""

    bytes: float
    issue: float
    latency: float

    @property
    def seconds(self) -> float:
        """The bound."""
        return max(self.bytes, self.issue, self.latency)

    @property
    def by(self) -> str:
        """What sets it."""
        return max(("bytes", "issue", "latency"), key=lambda term: getattr(self, term))


def predict(
    counts: Counts, latencies: dict[str, int], parameters: int, moved: float, device: Device
) -> Prediction:
    """The bound for so many parameters, whose streams are `moved` bytes."""
    reading = device.read_a_second if counts["stores"] == 0 else None
    bandwidth = reading or device.bytes_a_second
    issued = parameters * counts["instructions_a_parameter"] / device.lanes
    cycles = device.multiprocessors * device.clock_hz  # of all multiprocessors, a second
    a_turn = counts["blocks"] * counts["parameters_of_block"]
    latency = parameters / a_turn * counts["cycles_alone"] / cycles
    if counts["staged_bytes"]:
        on_their_way = counts["blocks"] * counts["staged_bytes"]
        latency = max(latency, moved / on_their_way * latencies["memory"] / cycles)
    return Prediction(
        bytes=moved / bandwidth,
        issue=issued / (cycles * device.schedulers),
        latency=latency,
    )


def measured(device: Device, results: dict[str, Any], summary: dict[str, Any]) -> Device:
    """The device as it was in a run: the clock read after the benchmarks, or at its end where it
    was read then alone; the bandwidth of the longest copy, and of the longest reading."""
    stages = {each["name"]: each for each in summary.get("stages", [])}
    read = stages.get("cuda_bench", {}).get("clocks") or summary["devices_after"][0]
    copies = [each for each in results["benchmarks"] if each.get("floor.bytes")]
    longest = max(copies, key=lambda each: each["floor.bytes"])
    return Device(
        device.name,
        device.multiprocessors,
        float(read["clocks.sm"].removesuffix(" MHz")) * 1e6,
        longest["floor.GB/s"] * 1e9,
        f"of a copy, measured beside {longest['name']}",
        read_a_second=longest_reading(results),
    )


def longest_reading(results: dict[str, Any]) -> float | None:
    """Bytes a second of the kernel that only reads, where it ran."""
    readings = [each for each in results["benchmarks"] if each.get("read.bytes")]
    if not readings:
        return None
    return max(readings, key=lambda each: each["read.bytes"])["read.GB/s"] * 1e9
