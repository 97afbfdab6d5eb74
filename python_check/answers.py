"""What gramstep answers to given gradients: weights, the combined gradient, report and state.

Rows hold integers times powers of two, so small that the Gram matrix is exact: whoever else is
asked for weights is asked the very same question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import gramstep_c
from bounded import FLUSH, UNIT
from gramstep_c import Report, aggregator_names, named
from trajectories import c_device, to_device, to_host

# Relative error of one operation in double.
EPSILON = np.finfo(np.float64).eps


@dataclass
class Answer:
    """One step."""

    weights: np.ndarray  # [K]
    direction: np.ndarray  # [N] d, in fp32
    gram: np.ndarray  # [K, K]
    report: Report
    state: dict[str, np.ndarray]  # the plan's, after the step
    momenta: np.ndarray | None  # [K, N] where they were asked for

    @property
    def kept(self) -> bool:
        """Whether the aggregator says that it kept its promise."""
        return bool(self.report.promises_kept[0])


class Asked:
    """An optimizer that is asked for directions: SGD with a learning rate of 1, from zero."""

    def __init__(self, aggregator: str, tasks: int, size: int, device: str, **options: Any) -> None:
        name = aggregator.split("(")[0]
        if name not in aggregator_names():
            pytest.skip(f"the library has no {name}")
        layout = gramstep_c.Layout()
        layout.add("x", (size,))
        self.size, self.padded = size, layout.sizes()[0]
        self.device = device
        self.optimizer = gramstep_c.Optimizer(
            layout,
            named("SGD", lr=1.0),
            aggregator=aggregator,
            tasks=tasks,
            device=c_device(device),
            **options,
        )

    def ask(
        self, rows: np.ndarray, losses: Sequence[float] | None = None, momenta: bool = False
    ) -> Answer:
        """Takes a step with rows [K, N] and reports."""
        padded = np.full((len(rows), self.padded), np.nan, np.float32)
        padded[:, : self.size] = rows
        params = to_device(np.zeros(self.padded, np.float32), self.device)
        own = None if losses is None else np.array(losses, np.float32)
        self.optimizer.step(params, [to_device(row, self.device) for row in padded], losses=own)
        report = self.optimizer.report()
        found = None
        if momenta:
            memory = [self.optimizer.task_momentum(task) for task in range(len(rows))]
            found = np.stack([to_numpy(each, self.device)[: self.size] for each in memory])
        names = self.optimizer.plan_state_names()
        state = {name: self.optimizer.plan_state(name) for name in names}
        direction = -to_host(params)[: self.size]
        return Answer(report.weights[0], direction, report.gram[0], report, state, found)


def to_numpy(memory: gramstep_c.Memory, device: str) -> np.ndarray:
    """A copy of a library's memory."""
    if device == "cpu":
        return np.array(memory)
    return to_host(torch.as_tensor(memory, device=device))


def answers(
    aggregator: str,
    steps: Sequence[np.ndarray],
    device: str,
    losses: Sequence[Sequence[float]] | None = None,
    **options: Any,
) -> list[Answer]:
    """The answers to a sequence of rows [K, N], each of them checked for d = J^T w."""
    asked = Asked(aggregator, *steps[0].shape, device, **options)
    found = []
    for step, rows in enumerate(steps):
        answer = asked.ask(rows, None if losses is None else losses[step])
        np.testing.assert_array_equal(answer.gram, rows @ rows.T)
        assert_combined(answer.direction, answer.weights, rows)
        found.append(answer)
    return found


def answer_to(aggregator: str, rows: np.ndarray, device: str) -> Answer:
    """The answer to the first step of an optimizer."""
    return answers(aggregator, [rows], device)[0]


def assert_combined(direction: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> None:
    """d = J^T w: weights rounded to fp32, then K products and K - 1 sums, each rounded."""
    tasks = len(rows)
    terms = np.abs(weights) @ np.abs(rows)
    error = (tasks + 1) * UNIT * (1 + tasks * UNIT) * terms + tasks * FLUSH * (
        1 + np.abs(rows).max()
    )
    wrong = ~(np.abs(direction - weights @ rows) <= error)
    assert not wrong.any(), f"{direction[wrong]} for {(weights @ rows)[wrong]}"


def exact(rows: np.ndarray) -> np.ndarray:
    """The rows rounded to integers."""
    return np.round(rows).astype(np.float64)


def normal_rows(random: np.random.Generator, tasks: int) -> np.ndarray:
    """No structure: about half of the pairs are in slight conflict."""
    return exact(4 * random.standard_normal((tasks, 2 * tasks + 3)))


def weak_rows(random: np.random.Generator, tasks: int) -> np.ndarray:
    """A direction in common; few pairs are in conflict, and slightly."""
    shared = random.standard_normal(2 * tasks + 3)
    return exact(4 * random.standard_normal((tasks, shared.size)) + 3 * shared)


def strong_rows(random: np.random.Generator, tasks: int) -> np.ndarray:
    """Nearly the corners of a simplex: all pairs are in conflict, as much as K rows can be."""
    rows = random.standard_normal((tasks, 2 * tasks + 3))
    return exact(8 * (rows - 0.9 * rows.mean(axis=0)))


def deficient_rows(random: np.random.Generator, tasks: int) -> np.ndarray:
    """Half the rank, exactly; with four rows or more two are the same and two are opposite."""
    rank = (tasks + 1) // 2
    mixing = random.integers(-2, 3, (tasks, rank))
    rows = exact(mixing @ random.integers(-3, 4, (rank, 2 * tasks + 3)))
    rows[~rows.any(axis=1), 0] = 1.0  # no row is zero
    if tasks > 3:
        rows[1], rows[3] = rows[0], -rows[2]
    return rows


def spread_rows(random: np.random.Generator, tasks: int) -> np.ndarray:
    """Norms from 2^-8 to 2^8."""
    scale = 2.0 ** np.round(np.linspace(-8, 8, tasks))
    return random.permutation(scale)[:, None] * normal_rows(random, tasks)


SAMPLERS = {
    "normal": normal_rows,
    "weak": weak_rows,
    "strong": strong_rows,
    "deficient": deficient_rows,
    "spread": spread_rows,
}

# Full rank, whatever the random numbers.
FULL_RANK = ["normal", "weak", "strong", "spread"]


def sample(kind: str, tasks: int, draws: int = 4) -> list[np.ndarray]:
    """Matrices of rows [K, N] of that kind, always the same."""
    random = np.random.default_rng([tasks, list(SAMPLERS).index(kind)])
    return [SAMPLERS[kind](random, tasks) for _ in range(draws)]
