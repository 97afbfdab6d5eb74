"""The solves of gramstep beside TorchJD's, in one process, in turn: weights of one Gram matrix.

    GRAMSTEP_LIBRARY=libgramstep.so python bench/compare_torchjd.py --output torchjd.json

On the CPU, one thread each: TorchJD takes a torch tensor in float64, gramstep's C ABI is called through
ctypes, a microsecond of which is ctypes. Before a method is timed, the two must agree on the weights,
where they are neither drawn nor left a good way from the optimum by TorchJD's stopping rule. What TorchJD
has as a weighting gets G; NashMTL and ConFIG, which it has for rows alone, get rows of K + 16 numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchjd import aggregation as torchjd

# After torch: both then share one OpenMP run time.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_check"))
from compare_torch import context  # noqa: E402
from gramstep_abi import library  # noqa: E402
from gramstep_aggregation import Aggregation, doubles  # noqa: E402

TASKS = (2, 4, 8, 16, 32, 64)
# Of the largest weight. TorchJD regularises and stops its solvers early.
AGREEMENT = 5e-2

# gramstep's text, what makes TorchJD's weighting for K tasks, and whether the weights are compared.
Maker = Callable[[int], Callable[[torch.Tensor], torch.Tensor]]
METHODS: dict[str, tuple[str, Maker, bool]] = {
    "Mean": ("Mean", lambda _: torchjd.MeanWeighting(), True),
    "Random": ("Random", lambda _: torchjd.RandomWeighting(), False),
    "PCGrad": ("PCGrad", lambda _: torchjd.PCGradWeighting(), False),
    "MGDA": ("MGDA", lambda _: torchjd.MGDAWeighting(), False),
    "CAGrad": ("CAGrad(c=0.5)", lambda _: torchjd.CAGradWeighting(c=0.5), True),
    "IMTLG": ("IMTLG", lambda _: torchjd.IMTLGWeighting(), True),
    "AlignedMTL": ("AlignedMTL", lambda _: torchjd.AlignedMTLWeighting(), True),
    "DualProj": ("DualProj", lambda _: torchjd.DualProjWeighting(), True),
    "UPGrad": ("UPGrad", lambda _: torchjd.UPGradWeighting(), True),
    "Krum": ("Krum(byzantine=1)", lambda _: torchjd.KrumWeighting(1), True),
    "FairGrad": ("FairGrad(alpha=2)", lambda _: torchjd.FairGradWeighting(2.0), True),
    "GradVac": ("GradVac", lambda _: torchjd.GradVacWeighting(), False),
    "SDMGrad": ("SDMGrad", lambda _: torchjd.SDMGradWeighting(), True),
    "MoDo": ("MoDo", lambda _: torchjd.MoDoWeighting(), True),
    "NashMTL": ("NashMTL", torchjd.NashMTL, False),
    "ConFIG": ("ConFIG", lambda _: torchjd.ConFIG(), False),
}
OF_ROWS = ("NashMTL", "ConFIG")


def rows_of(tasks: int) -> np.ndarray:
    """[K, K + 16], every second row leaning against a common direction: conflicts, and full rank."""
    random = np.random.default_rng(tasks)
    common = random.standard_normal(tasks + 16)
    leaning = np.where(np.arange(tasks) % 2 == 0, 0.5, -0.25)
    return random.standard_normal((tasks, tasks + 16)) + leaning[:, None] * common


def check_agreement(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises where the two did different work."""
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not error <= AGREEMENT:
        raise RuntimeError(f"{name}: weights differ by {error}, expected <= {AGREEMENT}")


def compare(name: str, tasks: int, seconds: float) -> dict[str, Any]:
    """Times both in turn; medians, and the ratio of every round."""
    text, make, compared = METHODS[name]
    rows = rows_of(tasks)
    gram = rows @ rows.T
    aggregation = Aggregation(text, tasks, threads=1)
    theirs, given = make(tasks), torch.from_numpy(rows if name in OF_ROWS else gram)
    if compared:
        check_agreement(name, aggregation.weights(gram[None])[0], theirs(given).numpy())
    weights, solve = np.empty(tasks), library.gramstep_aggregation_weights
    call = (aggregation.handle, doubles(gram), doubles(weights), None, 0, None)
    runs = (lambda: solve(*call), lambda: theirs(given))
    times: tuple[list[float], list[float]] = ([], [])
    begin, rounds = time.perf_counter(), 0
    while rounds < 5 or (time.perf_counter() - begin < seconds and rounds < 2000):
        for which in (0, 1) if rounds % 2 else (1, 0):
            start = time.perf_counter()
            runs[which]()
            times[which].append(time.perf_counter() - start)
        rounds += 1
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    result = {
        "name": f"torchjd/{name}/K:{tasks}",
        "seconds": statistics.median(times[0]),
        "rounds": rounds,
        "torchjd.seconds": statistics.median(times[1]),
        "torchjd.times": ratio,
    }
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else str(v) for k, v in result.items())
    print(*shown, flush=True)
    return result


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true", help="see that it works; no figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    with torch.no_grad():
        benchmarks = [
            compare(name, tasks, 0 if arguments.quick else 0.5)
            for name in METHODS
            for tasks in (TASKS[1:2] if arguments.quick else TASKS)
            if not (name == "Krum" and tasks < 4)
        ]
    results = {"context": context() | {"threads": 1}, "benchmarks": benchmarks}
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
