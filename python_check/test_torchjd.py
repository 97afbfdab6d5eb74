"""Gram matrix, weights and whole multi-task steps, beside numpy in float64 and TorchJD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torchjd import aggregation as torchjd

from aggregation import (
    Order,
    combined_gradients,
    constant_weights,
    fixed_order,
    fresh_order,
    gram_matrix,
    looked_at,
    pcgrad_weights,
    philox,
)
from bounded import Bounded
from compare import FLOAT64_SHARE, assert_as_accurate, assert_steps_right
from gramstep_c import Aggregator, Report
from problems import GROUPED_TENSORS, GROUPS, Problem, Tensor, make_problem
from rules import Rule
from trajectories import GramstepRun, TorchRun, bounded_steps, run_gramstep, run_torch

TASKS = [2, 3, 8, 17]
PLAIN_SGD = Rule("SGD", {"lr": 0.1})
STEP_RULES = [
    Rule("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    Rule("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
]
SEED = 0xFEDCBA9876543210  # both halves of the key count
HEADS = (Tensor("first head", (3, 43), task=0), Tensor("second head", (130,), "slow", task=1))


def random_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    return random.standard_normal((tasks, size))


def conflicting_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    """Nearly the corners of a simplex: as much in conflict with each other as K rows can be."""
    rows = random.standard_normal((tasks, size))
    return rows - 0.99 * rows.mean(axis=0)


def deficient_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    """Rank 2 at most: two rows the same, two opposite, one zero, the others between them."""
    rows = random.standard_normal((tasks, 2)) @ random.standard_normal((2, size))
    rows[-1] = -rows[0]
    if tasks > 2:
        rows[1] = rows[0]
    if tasks > 3:
        rows[2] = 0.0
    return rows


def unbalanced_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    """Norms spread over twelve orders of magnitude."""
    return np.geomspace(1e-6, 1e6, tasks)[:, None] * random.standard_normal((tasks, size))


KINDS = {
    "random": random_rows,
    "conflicting": conflicting_rows,
    "deficient": deficient_rows,
    "unbalanced": unbalanced_rows,
}


def problem_of(kind: str, tasks: int, steps: int = 3) -> Problem:
    """A problem whose rows are of that kind in every step."""
    problem = make_problem(tasks=tasks, steps=steps, seed=tasks)
    random = np.random.default_rng(tasks)
    real = problem.real()[: problem.shared_size]
    for step in range(steps):
        problem.rows[step][:, real] = KINDS[kind](random, tasks, int(real.sum()))
    return problem


def run_of(problem: Problem, device: str, aggregator: Aggregator, **options: Any) -> GramstepRun:
    return GramstepRun(problem, PLAIN_SGD, device, aggregator=aggregator, **options)


def reports(run: GramstepRun) -> list[Report]:
    """Takes all steps of the problem and returns what is said of each."""
    found = []
    for step in range(run.problem.steps):
        run.step(step)
        found.append(run.optimizer.report())
    return found


def torchjd_pcgrad(
    orders: Sequence[Sequence[int]], monkeypatch: pytest.MonkeyPatch
) -> torchjd.PCGrad:
    """TorchJD's PCGrad, task i meeting the others in orders[i] instead of a torch.randperm."""
    following = iter(orders)
    monkeypatch.setattr(torch, "randperm", lambda count: torch.tensor(list(next(following))))
    return torchjd.PCGrad()


def orders_of(order: Order, step: int, tasks: int) -> list[Sequence[int]]:
    """In which order every task meets the others in that step, 1 for the first."""
    return [order(step, task, tasks) for task in range(tasks)]


def assert_within(got: np.ndarray, expected: np.ndarray, error: np.ndarray) -> None:
    np.testing.assert_array_equal(np.abs(got - expected) <= error, True, f"{got} for {expected}")


def test_philox_known_answers() -> None:
    """The three vectors of philox4x32-10 that its authors publish with Random123."""
    ones = 0xFFFFFFFF
    digits = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    answers = {
        (0, (0, 0, 0, 0)): [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        (2**64 - 1, (ones,) * 4): [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        (0x299F31D0A4093822, digits): [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    }
    for (key, counter), answer in answers.items():
        assert philox(key, counter) == answer


@pytest.mark.parametrize("tasks", [2, 3, 8, 17, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_gram_matrix(kind: str, tasks: int, device: str) -> None:
    """The Gram matrix is within the bound of its sums; the rest of the report follows from it."""
    problem = problem_of(kind, tasks, steps=2)
    for step, report in enumerate(reports(run_of(problem, device, Aggregator.PCGrad))):
        rows, _ = looked_at(problem, step)
        gram = gram_matrix(rows, device)
        assert_within(report.gram, gram.value, gram.error)
        np.testing.assert_array_equal(report.gram, report.gram.T)
        assert_report_follows(report)


def assert_report_follows(report: Report) -> None:
    """Norms, cosines, conflicts and the step's norm are those of the Gram matrix and weights."""
    tight = 16 * np.finfo(np.float64).eps  # a handful of operations in double
    tasks = report.numbers.tasks
    norms = np.sqrt(np.diag(report.gram))
    np.testing.assert_allclose(report.gradient_norms, norms, rtol=tight)
    scale = np.outer(norms, norms)
    cosines = np.divide(report.gram, scale, out=np.zeros_like(scale), where=scale > 0)
    np.testing.assert_allclose(report.cosines, cosines, rtol=tight)
    conflicts = (report.cosines[np.triu_indices(tasks, 1)] < 0).mean()
    np.testing.assert_allclose(report.numbers.conflict_rate, conflicts, rtol=tight)
    squared = report.weights @ report.gram @ report.weights
    # Terms of a sum that cancels are each rounded: relative to them, not to the sum.
    terms = np.abs(report.weights) @ np.abs(report.gram) @ np.abs(report.weights)
    assert abs(report.numbers.norm**2 - max(squared, 0.0)) <= tasks * tight * terms


@pytest.mark.parametrize("order", ["fixed", "fresh"])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_pcgrad_weights(
    kind: str, tasks: int, order: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchJD's weights but for the Gram matrix's error; given that matrix, as double rounds."""
    problem = problem_of(kind, tasks)
    fixed = order == "fixed"
    met = fixed_order if fixed else fresh_order(SEED)
    run = run_of(problem, device, Aggregator.PCGrad, fixed_order=fixed, seed=SEED)
    for step, report in enumerate(reports(run)):
        rows, _ = looked_at(problem, step)
        gram = gram_matrix(rows, device)
        theirs = torchjd_pcgrad(orders_of(met, step + 1, tasks), monkeypatch)
        expected = theirs.weighting(torch.from_numpy(rows)).numpy()
        ours = pcgrad_weights(met)(step + 1, gram)
        assert_within(ours.value, expected, FLOAT64_SHARE * ours.error)
        assert_within(report.weights, expected, ours.error)
        same_gram = pcgrad_weights(met)(step + 1, Bounded(report.gram, gram.error))
        assert_within(report.weights, same_gram.value, FLOAT64_SHARE * same_gram.error)


def test_order_matters(device: str) -> None:
    """Fixed and fresh order, two seeds and two steps tell each other apart in the checks above."""
    problem = problem_of("conflicting", 8, steps=2)
    problem.rows[1] = problem.rows[0]
    weights = []
    for options in ({"fixed_order": True}, {"seed": SEED}, {"seed": SEED ^ 1 << 32}):
        run = run_of(problem, device, Aggregator.PCGrad, **options)
        weights.append([report.weights for report in reports(run)])
    np.testing.assert_array_equal(weights[0][0], weights[0][1])
    for first, second in [(weights[0][0], weights[1][0]), (weights[1][0], weights[1][1])]:
        assert np.abs(first - second).max() > 1e-3
    assert np.abs(weights[1][0] - weights[2][0]).max() > 1e-3


def test_skipped_steps_draw_no_order(device: str) -> None:
    """The order depends on how many steps were taken, so that a skipped one leaves no trace."""
    problem = problem_of("conflicting", 8, steps=3)
    problem.rows[2] = problem.rows[1]
    problem.rows[1, 3, 0] = np.nan
    first, skipped, second = reports(run_of(problem, device, Aggregator.PCGrad, seed=SEED))
    assert [r.numbers.skipped for r in (first, skipped, second)] == [0, 1, 0]
    rows, _ = looked_at(problem, 2)
    expected = pcgrad_weights(fresh_order(SEED))(2, gram_matrix(rows, device))
    assert_within(second.weights, expected.value, expected.error)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_known_weights(reduction: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix for which TorchJD's tests and others' pages give PCGrad's weights."""
    rows = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    problem = make_problem((Tensor("x", (3,)),), tasks=2, steps=1)
    problem.rows[0, :, :3] = rows
    mean = reduction == "mean"
    run = run_of(problem, device, Aggregator.PCGrad, mean_reduction=mean)
    weights = reports(run)[0].weights * (2 if mean else 1)
    np.testing.assert_allclose(weights, [2.2222, 1.5789], atol=5e-5)  # as printed there
    theirs = torchjd_pcgrad([[0, 1], [0, 1]], monkeypatch)
    # Products of small integers are exact in fp32: only double rounds.
    np.testing.assert_allclose(weights, theirs.weighting(torch.from_numpy(rows)), rtol=1e-15)


@pytest.mark.parametrize("tasks", [1, *TASKS])
def test_linear_weights(tasks: int, device: str) -> None:
    """Mean, Sum and Constant are TorchJD's to the bit."""
    problem = problem_of("random", tasks, steps=1)
    rows = torch.from_numpy(looked_at(problem, 0)[0])
    values = np.random.default_rng(tasks).standard_normal(tasks)
    cases = [
        (Aggregator.Mean, torchjd.Mean(), {}),
        (Aggregator.Sum, torchjd.Sum(), {}),
        (
            Aggregator.Constant,
            torchjd.Constant(torch.from_numpy(values)),
            {"constant_weights": values},
        ),
    ]
    for aggregator, theirs, options in cases:
        report = reports(run_of(problem, device, aggregator, **options))[0]
        np.testing.assert_array_equal(report.weights, theirs.weighting(rows).numpy())


def two_headed_problem(tasks: int) -> Problem:
    """Groups and heads; every step's rows lean along one direction, for it or against it."""
    problem = make_problem(GROUPED_TENSORS + HEADS, GROUPS, tasks, steps=25, seed=tasks)
    random = np.random.default_rng(tasks)
    leaning = random.choice([-1.0, 1.0], (problem.steps, tasks, 1)) * problem.rows[:, :1]
    problem.rows = (problem.rows + leaning).astype(np.float32)
    problem.active[:, 1::4] = random.random(problem.active[:, 1::4].shape) < 0.7
    return problem


def flat_gradients(
    problem: Problem, theirs: Callable[[int], torchjd.Aggregator], dtype: torch.dtype
) -> list[np.ndarray]:
    """What TorchJD makes of every step's rows, and the heads' own gradients."""
    gradients = []
    for step in range(problem.steps):
        rows, heads = looked_at(problem, step)
        shared = theirs(step)(torch.from_numpy(rows).to(dtype)).numpy()
        gradients.append(np.concatenate([shared, heads.astype(shared.dtype)]))
    return gradients


@pytest.mark.parametrize("clip_norm", [np.inf, 0.05])
@pytest.mark.parametrize("aggregator", [Aggregator.Constant, Aggregator.PCGrad], ids=str)
@pytest.mark.parametrize("rule", STEP_RULES, ids=str)
@pytest.mark.parametrize("tasks", TASKS)
def test_whole_steps(
    tasks: int,
    rule: Rule,
    aggregator: Aggregator,
    clip_norm: float,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TorchJD combines, torch clips and steps; gramstep does all of it in one call."""
    problem = two_headed_problem(tasks)
    values = np.random.default_rng(tasks).standard_normal(tasks)
    order = fresh_order(SEED)
    if aggregator == Aggregator.PCGrad:
        weights_of, options = pcgrad_weights(order), {"seed": SEED}
    else:
        weights_of, options = constant_weights(values), {"constant_weights": values}
    got = run_gramstep(problem, rule, device, aggregator=aggregator, clip_norm=clip_norm, **options)

    def gradients(dtype: torch.dtype) -> list[np.ndarray]:
        def theirs(step: int) -> torchjd.Aggregator:
            if aggregator == Aggregator.PCGrad:
                return torchjd_pcgrad(orders_of(order, step + 1, tasks), monkeypatch)
            return torchjd.Constant(torch.from_numpy(values).to(dtype))

        return flat_gradients(problem, theirs, dtype)

    def clip(run: TorchRun) -> None:
        torch.nn.utils.clip_grad_norm_(run.params, clip_norm)

    how = {"gradients": gradients(torch.float64), "before_step": clip, "foreach": False}
    exact_steps = run_torch(problem, rule, torch.float64, resume=got, **how)
    combined = combined_gradients(problem, device, weights_of=weights_of, clip_norm=clip_norm)
    assert_steps_right(problem, got, exact_steps, bounded_steps(problem, rule, got, combined))
    exact = run_torch(problem, rule, torch.float64, **how)
    how["gradients"] = gradients(torch.float32)
    assert_as_accurate(problem, got, run_torch(problem, rule, device=device, **how), exact)
