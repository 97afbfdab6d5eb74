"""gramstep beside torch, in one process, in turn: PCGrad with AdamW, eight tasks; AdamW alone.

    GRAMSTEP_LIBRARY=libgramstep.so python bench/compare_torch.py --output torch.json

On the CPU and, where torch and gramstep see a GPU, on CUDA. Before anything is timed, every
contender takes a step, and their first moments must agree: they do the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

# After torch: both then share one OpenMP run time, torch's, and one set of threads.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_check"))
import gramstep_c as gramstep

TASKS = 8
ADAMW = {"lr": 1e-3, "weight_decay": 1e-2}
# Relative to the norm. torch's J @ J.T errs by 3e-3 of the norms of rows of 16M elements; a
# projection left out changes the moment by 1e-1.
AGREEMENT = 1e-2


@dataclass
class Contender:
    """Something whose run is timed, and the first moment that its first step leaves."""

    name: str
    run: Callable[[], None]
    first_moment: Callable[[], torch.Tensor]


@dataclass
class Extent:
    """How much is measured."""

    size: int
    tensors: tuple[int, ...] = (1, 256, 4096)
    seconds: float = 3
    least_rounds: int = 7


def extent_on(device: str, quick: bool) -> Extent:
    """64 MiB a row on a CPU, four times that on a GPU; or a little, to see that it works."""
    if quick:
        return Extent(1 << 14, tensors=(1, 4), seconds=0, least_rounds=2)
    return Extent(1 << (24 if device == "cpu" else 26))


class Machine:
    """A device, its clock, and gramstep's options for it."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            self.options: dict[str, Any] = {"device": gramstep.Device.CUDA}
            self.stream: int | None = torch.cuda.current_stream().cuda_stream
            self.flushed = torch.empty(1 << 26, device=device)  # more than any L2
        else:
            self.options = {"threads": torch.get_num_threads()}
            self.stream = None

    def time(self, run: Callable[[], None]) -> float:
        """Seconds that a run takes; on CUDA by events, caches cold."""
        if self.device == "cpu":
            begin = time.perf_counter()
            run()
            return time.perf_counter() - begin
        self.flushed.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3


def check_agreement(contenders: list[Contender]) -> None:
    """Lets every contender take its first step; raises where they do different work."""
    for contender in contenders:
        contender.run()
    expected = contenders[0].first_moment()
    for contender in contenders[1:]:
        error = (contender.first_moment() - expected).norm() / expected.norm()
        if not error <= AGREEMENT:
            raise RuntimeError(
                f"{contender.name}: first moment off by {error}, expected <= {AGREEMENT}"
            )


def compare(
    name: str, machine: Machine, contenders: list[Contender], extent: Extent
) -> dict[str, Any]:
    """Times contenders round by round, in both orders in turn; medians, ratios within a round. The
    first is the subject; of the others, `times` is their time by the subject's."""
    check_agreement(contenders)
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    begin = time.perf_counter()
    order = list(contenders)
    rounds = 0
    while rounds < extent.least_rounds or time.perf_counter() - begin < extent.seconds:
        for contender in order:
            times[contender.name].append(machine.time(contender.run))
        order.reverse()
        rounds += 1
    subject = times[contenders[0].name]
    result = {"name": name, "seconds": statistics.median(subject), "rounds": rounds}
    for contender in contenders[1:]:
        own = times[contender.name]
        result[f"{contender.name}.seconds"] = statistics.median(own)
        result[f"{contender.name}.times"] = statistics.median(
            rival / mine for rival, mine in zip(own, subject, strict=True)
        )
    print(name, *(f"{k} {v:.4g}" for k, v in result.items() if k != "name"), flush=True)
    return result


def gramstep_contender(
    machine: Machine, params: torch.Tensor, rows: list[torch.Tensor], tensors: int
) -> Contender:
    """AdamW by gramstep over one flat buffer of `tensors` segments; PCGrad where there are rows."""
    layout = gramstep.Layout()
    for t in range(tensors):
        layout.add(f"tensor{t}", [params.numel() // tensors])
    aggregator = "PCGrad(order=fixed)" if len(rows) > 1 else "Sum"
    optimizer = gramstep.Optimizer(
        layout,
        gramstep.named("AdamW", **ADAMW),
        tasks=len(rows),
        aggregator=aggregator,
        **machine.options,
    )

    def first_moment() -> torch.Tensor:
        memory = optimizer.state("exp_avg")
        on_cpu = machine.device == "cpu"
        return torch.as_tensor(np.asarray(memory) if on_cpu else memory, device=machine.device)

    def run() -> None:
        optimizer.step(params, rows, stream=machine.stream)

    return Contender("gramstep", run, first_moment)


def torch_adamw(params: list[torch.Tensor]) -> tuple[torch.optim.AdamW, Callable[[], torch.Tensor]]:
    """torch's fused AdamW, and what gives its first moment."""
    optimizer = torch.optim.AdamW(params, fused=True, **ADAMW)
    return optimizer, lambda: torch.cat([optimizer.state[p]["exp_avg"] for p in params])


def in_place_contender(start: torch.Tensor, rows: list[torch.Tensor]) -> Contender:
    """PCGrad as it is tuned by hand: K^2 dot products and axpys, in place; fused AdamW."""
    param = start.clone().requires_grad_()
    param.grad = torch.empty_like(start)
    projected = torch.empty_like(start)
    optimizer, first_moment = torch_adamw([param])

    def run() -> None:
        squares = [torch.dot(row, row) for row in rows]
        param.grad.zero_()
        for i, row in enumerate(rows):
            projected.copy_(row)
            for j, other in enumerate(rows):
                if j != i and (product := torch.dot(projected, other)) < 0:
                    projected.add_(other, alpha=-(product / squares[j]).item())
            param.grad.add_(projected)
        optimizer.step()

    return Contender("in_place", run, first_moment)


def pcgrad_weights(gram: np.ndarray) -> np.ndarray:
    """PCGrad's weights [K] from the Gram matrix [K, K], every task meeting the others in order."""
    weights = np.eye(len(gram))
    for i, own in enumerate(weights):
        for j in range(len(gram)):
            if j != i and (product := own @ gram[j]) < 0:
                own[j] -= product / gram[j, j]
    return weights.sum(axis=0)


def matmul_contender(start: torch.Tensor, matrix: torch.Tensor) -> Contender:
    """PCGrad by matrix products: J @ J.T, weights, w @ J into memory that is there (allocating it
    takes twice as long on a CPU); fused AdamW."""
    param = start.clone().requires_grad_()
    param.grad = torch.empty_like(start)
    optimizer, first_moment = torch_adamw([param])

    def run() -> None:
        weights = pcgrad_weights((matrix @ matrix.T).double().cpu().numpy())
        torch.mv(matrix.T, torch.from_numpy(weights).to(matrix), out=param.grad)
        optimizer.step()

    return Contender("matmul", run, first_moment)


def random_rows(device: str, tasks: int, size: int) -> torch.Tensor:
    """[K, N] with every second task against the others; rows a little apart, see the README."""
    generator = torch.Generator(device).manual_seed(1)
    matrix = torch.rand((tasks, size + 272), generator=generator, device=device)[:, :size].sub_(0.5)
    common = torch.rand(size, generator=generator, device=device).sub_(0.5)
    for k, row in enumerate(matrix):
        row.add_(common, alpha=0.5 * (-1) ** k)
    return matrix


@torch.no_grad()
def pcgrad(machine: Machine, extent: Extent) -> dict[str, Any]:
    """The whole step for eight tasks."""
    matrix = random_rows(machine.device, TASKS, extent.size)
    rows = list(matrix)
    start = matrix[0] * 0.1
    contenders = [
        gramstep_contender(machine, start.clone(), rows, 1),
        in_place_contender(start, rows),
        matmul_contender(start, matrix),
    ]
    name = f"torch/{machine.device}/pcgrad+adamw/K:{TASKS}/N:{extent.size}"
    return compare(name, machine, contenders, extent)


@torch.no_grad()
def adamw(machine: Machine, extent: Extent, tensors: int) -> dict[str, Any]:
    """AdamW for one task: one flat tensor, or many."""
    size = 1024 * tensors if tensors > 1024 else extent.size // tensors * tensors
    gradient = random_rows(machine.device, 1, size)[0]
    start = gradient * 0.1
    params = [part.clone().requires_grad_() for part in start.split(size // tensors)]
    for param, part in zip(params, gradient.split(size // tensors), strict=True):
        param.grad = part.clone()
    optimizer, first_moment = torch_adamw(params)
    contenders = [
        gramstep_contender(machine, start, [gradient], tensors),
        Contender("fused", lambda: optimizer.step(), first_moment),
    ]
    name = f"torch/{machine.device}/adamw/N:{size}/tensors:{tensors}"
    return compare(name, machine, contenders, extent)


def context() -> dict[str, Any]:
    """What was measured, on what."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line for line in lines if line.startswith("model name")]
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu_model": models[0].split(": ")[1] if models else "unknown",
        "cpu_isa": gramstep.library.gramstep_cpu_isa().decode(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return facts | ({"device": torch.cuda.get_device_name()} if has_cuda() else {})


def has_cuda() -> bool:
    """Whether torch and gramstep both see a GPU."""
    return torch.cuda.is_available() and gramstep.library.gramstep_cuda_devices() > 0


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true", help="see that it works; no figures")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="that one alone")
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)

    benchmarks = []
    devices = ["cpu", "cuda"] if has_cuda() else ["cpu"]
    for device in [arguments.device] if arguments.device else devices:
        machine, extent = Machine(device), extent_on(device, arguments.quick)
        benchmarks.append(pcgrad(machine, extent))
        benchmarks += [adamw(machine, extent, tensors) for tensors in extent.tensors]
    results = {"context": context(), "benchmarks": benchmarks}
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
