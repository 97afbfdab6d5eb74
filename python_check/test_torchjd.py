"""Weights and whole multi-task steps, beside TorchJD."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from aggregation import (
    combined_gradients,
    constant_weights,
    fixed_order,
    fresh_order,
    gram_matrix,
    looked_at,
    orders_of,
    pcgrad_weights,
)
from bounded import Bounded
from compare import DOUBLE, FLOAT64_SHARE, assert_as_accurate, assert_steps_right, assert_within
from gramstep_c import named
from problems import GROUPED_TENSORS, GROUPS, ROWS, Problem, Tensor, make_problem, task_problem
from rules import Rule
from trajectories import (
    TorchRun,
    aggregator_run,
    bounded_steps,
    run_gramstep,
    run_torch,
    take_all_steps,
)

torchjd = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")

TASKS = [2, 3, 8, 17]
STEP_RULES = [
    Rule("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    Rule("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
]
SEED = 0xFEDCBA9876543210  # both halves of the key count
HEADS = (Tensor("first head", (3, 43), task=0), Tensor("second head", (130,), "slow", task=1))


def torchjd_pcgrad(
    orders: Sequence[Sequence[int]], monkeypatch: pytest.MonkeyPatch
) -> torchjd.PCGrad:
    """TorchJD's PCGrad, task i meeting the others in orders[i] instead of a torch.randperm."""
    following = iter(orders)
    monkeypatch.setattr(torch, "randperm", lambda count: torch.tensor(list(next(following))))
    return torchjd.PCGrad()


@pytest.mark.parametrize("order", ["fixed", "fresh"])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", ROWS)
def test_pcgrad_weights(
    kind: str, tasks: int, order: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchJD's weights but for the Gram matrix's error; given that matrix, as double rounds."""
    problem = task_problem(kind, tasks)
    met = fixed_order if order == "fixed" else fresh_order(SEED)
    run = aggregator_run(problem, device, named("PCGrad", order=order, seed=SEED))
    for step, report in enumerate(take_all_steps(run)):
        rows, _ = looked_at(problem, step)
        gram = gram_matrix(rows, device)
        theirs = torchjd_pcgrad(orders_of(met, step + 1, tasks), monkeypatch)
        expected = theirs.weighting(torch.from_numpy(rows)).numpy()
        ours = pcgrad_weights(met)(step + 1, gram)
        assert_within(ours.value, expected, FLOAT64_SHARE * ours.error)
        assert_within(report.weights[0], expected, ours.error)
        same_gram = pcgrad_weights(met)(step + 1, Bounded(report.gram[0], gram.error))
        assert_within(report.weights[0], same_gram.value, FLOAT64_SHARE * same_gram.error)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_known_weights(reduction: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix for which TorchJD's tests and others' pages give PCGrad's weights."""
    rows = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    problem = make_problem((Tensor("x", (3,)),), tasks=2, steps=1)
    problem.rows[0, :, :3] = rows
    run = aggregator_run(problem, device, named("PCGrad", reduction=reduction))
    weights = take_all_steps(run)[0].weights[0] * (2 if reduction == "mean" else 1)
    np.testing.assert_allclose(weights, [2.2222, 1.5789], atol=5e-5)  # as printed there
    theirs = torchjd_pcgrad([[0, 1], [0, 1]], monkeypatch)
    # Products of small integers are exact in fp32: only double rounds.
    np.testing.assert_allclose(weights, theirs.weighting(torch.from_numpy(rows)), rtol=DOUBLE)


@pytest.mark.parametrize("tasks", [1, *TASKS])
def test_linear_weights(tasks: int, device: str) -> None:
    """Mean, Sum and Constant are TorchJD's to the bit."""
    problem = task_problem("random", tasks, steps=1)
    rows = torch.from_numpy(looked_at(problem, 0)[0])
    values = np.random.default_rng(tasks).standard_normal(tasks)
    cases = [
        ("Mean", torchjd.Mean()),
        ("Sum", torchjd.Sum()),
        (named("Constant", values=values), torchjd.Constant(torch.from_numpy(values))),
    ]
    for aggregator, theirs in cases:
        report = take_all_steps(aggregator_run(problem, device, aggregator))[0]
        np.testing.assert_array_equal(report.weights[0], theirs.weighting(rows).numpy())


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
@pytest.mark.parametrize("aggregator", ["Constant", "PCGrad"])
@pytest.mark.parametrize("rule", STEP_RULES, ids=str)
@pytest.mark.parametrize("tasks", TASKS)
def test_whole_steps(
    tasks: int,
    rule: Rule,
    aggregator: str,
    clip_norm: float,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TorchJD combines, torch clips and steps; gramstep does all of it in one call."""
    problem = two_headed_problem(tasks)
    values = np.random.default_rng(tasks).standard_normal(tasks)
    order = fresh_order(SEED)
    if aggregator == "PCGrad":
        weights_of, text = pcgrad_weights(order), named(aggregator, seed=SEED)
    else:
        weights_of, text = constant_weights(values), named(aggregator, values=values)
    got = run_gramstep(problem, rule, device, aggregator=text, clip_norm=clip_norm)

    def gradients(dtype: torch.dtype) -> list[np.ndarray]:
        def theirs(step: int) -> torchjd.Aggregator:
            if aggregator == "PCGrad":
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
