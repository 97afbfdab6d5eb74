"""gramstep beside torch, TorchJD and optax, in one process, in turn: whole steps.

    GRAMSTEP_LIBRARY=libgramstep.so python bench/compare_torch.py --output torch.json

PCGrad, MGDA and UPGrad with AdamW, eight tasks; AdamW alone, of one tensor and of many. On the CPU
and, where torch and gramstep see a GPU, on CUDA. Before anything is timed, every contender takes a
step, and their first moments must agree: they do the same work. --peers picks who stands beside it.
A peer that is not here is left out, and the file says so. It is written after every benchmark: what
was measured stays, whatever happens to the rest.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

import contenders
from contenders import gramstep
from rounds import Clock, Contender, Extent, compare, extent_on

TASKS = 8
PEERS = ("in_place", "matmul", "torchjd", "fused", "foreach", "compiled", "optax")
# torch.compile takes half a minute for 64 tensors: it is asked for by name.
USUAL = tuple(peer for peer in PEERS if peer != "compiled")
Maker = Callable[[], Contender]
Measured = Iterator[dict[str, Any]]


class Run:
    """What is compared with whom, and who was left out and why."""

    def __init__(self, device: str, extent: Extent, peers: list[str]) -> None:
        self.device, self.extent, self.peers = device, extent, peers
        self.left_out: dict[str, str] = {}

    def compare(self, name: str, subject: Maker, makers: Mapping[str, Maker]) -> Measured:
        """One benchmark, if any of its peers is asked for and here. Peers that have streams of
        their own are timed by the host, apart from the others and under a name of their own."""
        for apart in (False, True):
            full = f"torch/{self.device}/{name}" + ("/by_host" if apart else "")
            made = [
                contender
                for peer, make in makers.items()
                if peer in self.peers and (peer == "optax") == apart
                if (contender := self._made(f"{full} beside {peer}", make))
            ]
            if made:
                yield compare(
                    full, Clock(self.device, apart), [started(subject), *made], self.extent
                )

    def _made(self, what: str, make: Maker) -> Contender | None:
        try:
            return started(make)
        except (ImportError, RuntimeError) as error:
            self.left_out[what] = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"{what}: left out: {self.left_out[what]}", flush=True)
            return None


def started(make: Maker) -> Contender:
    """A contender that took its first step."""
    contender = make()
    contender.run()
    return contender


def random_rows(device: str, tasks: int, size: int) -> torch.Tensor:
    """[K, N] with every second task against the others; rows a little apart, see the README."""
    generator = torch.Generator(device).manual_seed(1)
    matrix = torch.rand((tasks, size + 272), generator=generator, device=device)[:, :size].sub_(0.5)
    common = torch.rand(size, generator=generator, device=device).sub_(0.5)
    for k, row in enumerate(matrix):
        row.add_(common, alpha=0.5 * (-1) ** k)
    return matrix


def aggregated(run: Run) -> Measured:
    """The whole step for eight tasks."""
    matrix = random_rows(run.device, TASKS, run.extent.size)
    rows, start = list(matrix), matrix[0] * 0.1

    def subject(aggregator: str) -> Maker:
        return lambda: contenders.by_gramstep(start.clone(), rows, 1, aggregator)

    where = f"+adamw/K:{TASKS}/N:{run.extent.size}"
    by_hand = {
        "in_place": partial(contenders.in_place, start, rows),
        "matmul": partial(contenders.matmul, start, matrix),
    }
    yield from run.compare(f"pcgrad{where}", subject("PCGrad(order=fixed)"), by_hand)
    for method in ("PCGrad", "MGDA", "UPGrad"):
        make = {"torchjd": partial(contenders.by_torchjd, start, matrix, method)}
        yield from run.compare(f"{method.lower()}{where}/by_torchjd", subject(method), make)


def adamw(run: Run, tensors: int) -> Measured:
    """AdamW for one task: one flat tensor, or many."""
    size = 1024 * tensors if tensors > 1024 else run.extent.size // tensors * tensors
    gradient = random_rows(run.device, 1, size)[0]
    start = gradient * 0.1
    makers = {
        peer: partial(getattr(contenders, peer), start, gradient, tensors)
        for peer in ("fused", "foreach", "compiled", "optax")
    }

    def subject() -> Contender:
        return contenders.by_gramstep(start.clone(), [gradient], tensors, "Sum")

    yield from run.compare(f"adamw/N:{size}/tensors:{tensors}", subject, makers)


@torch.no_grad()
def measured(run: Run) -> Measured:
    """Everything on one device."""
    yield from aggregated(run)
    for tensors in run.extent.tensors:
        yield from adamw(run, tensors)


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
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=USUAL)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)

    benchmarks: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    devices = ["cpu", "cuda"] if has_cuda() else ["cpu"]

    def write() -> None:
        facts = context() | ({"left_out": left_out} if left_out else {})
        results = {"context": facts, "benchmarks": benchmarks}
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")

    write()
    for device in [arguments.device] if arguments.device else devices:
        run = Run(device, extent_on(device, arguments.quick), arguments.peers)
        run.left_out = left_out
        for each in measured(run):
            benchmarks.append(each)
            write()
    write()


if __name__ == "__main__":
    main()
