"""Contenders timed round by round, in both orders in turn, over one machine's clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

# Relative to the norm. torch's J @ J.T errs by 3e-3 of the norms of rows of 16M elements; a
# projection left out changes the moment by 1e-1.
AGREEMENT = 1e-2


@dataclass
class Contender:
    """Something whose run is timed, and the first moment that its first step leaves; None where it
    may rightly be another: an order is drawn, or a solver stops early."""

    name: str
    run: Callable[[], None]
    first_moment: Callable[[], torch.Tensor] | None


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


class Clock:
    """Times runs on a device: on a GPU by torch's events, caches cold; on a CPU, and where another
    framework has streams of its own, by the host, which waits."""

    def __init__(self, device: str, of_host: bool = False) -> None:
        self.device = device
        self.of_host = of_host or device == "cpu"
        if device == "cuda":
            self.flushed = torch.empty(1 << 26, device=device)  # more than any L2

    def time(self, run: Callable[[], None]) -> float:
        """Seconds that a run takes."""
        if self.device == "cuda":
            self.flushed.zero_()
        if self.of_host:
            self._wait()
            begin = time.perf_counter()
            run()
            self._wait()
            return time.perf_counter() - begin
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def check_agreement(contenders: list[Contender]) -> None:
    """Raises where contenders, a step old, did different work."""
    expected = contenders[0].first_moment()
    for contender in contenders[1:]:
        if contender.first_moment is None:
            continue
        error = (contender.first_moment() - expected).norm() / expected.norm()
        if not error <= AGREEMENT:
            raise RuntimeError(
                f"{contender.name}: first moment off by {error}, expected <= {AGREEMENT}"
            )


def compare(name: str, clock: Clock, contenders: list[Contender], extent: Extent) -> dict[str, Any]:
    """Medians, and ratios within a round, of contenders that took their first step. The first is
    the subject; of the others, `times` is their time by the subject's."""
    check_agreement(contenders)
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    begin = time.perf_counter()
    order = list(contenders)
    rounds = 0
    while rounds < extent.least_rounds or time.perf_counter() - begin < extent.seconds:
        for contender in order:
            times[contender.name].append(clock.time(contender.run))
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
