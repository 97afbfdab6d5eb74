"""A hundred steps beside torch.optim: see compare.py for what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from aggregation import combined_gradients, constant_weights, looked_at
from compare import assert_as_accurate, assert_padding_untouched, assert_steps_right
from failures import assert_raises
from gramstep_c import named
from problems import MATRIX_GROUPS, MATRIX_TENSORS, Problem, make_problem
from rules import Rule
from trajectories import (
    GramstepRun,
    TorchRun,
    Trajectory,
    bounded_steps,
    run_gramstep,
    run_torch,
)


def assert_torchs(
    problem: Problem, rule: Rule, device: str, hows: Sequence[dict[str, bool]]
) -> Trajectory:
    """Every step is torch's, and many of them drift no more than torch's in fp32, in each of these
    ways to run it. Returns gramstep's run."""
    got = run_gramstep(problem, rule, device)
    assert_padding_untouched(problem, rule, got)
    exact_steps = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(problem, got, exact_steps, bounded_steps(problem, rule, got))
    exact = run_torch(problem, rule, torch.float64, foreach=False)
    for how in hows:
        assert_as_accurate(problem, got, run_torch(problem, rule, device=device, **how), exact)
    return got


def weighted_sums(problem: Problem, weights: Sequence[float], dtype: Any) -> list[np.ndarray]:
    """The flat gradients of several tasks: their weighted sum, and the heads' own."""
    gradients = []
    for step in range(problem.steps):
        rows, heads = (values.astype(dtype) for values in looked_at(problem, step))
        gradients.append(np.concatenate([np.asarray(weights, dtype) @ rows, heads]))
    return gradients


def assert_torchs_of_tasks(problem: Problem, rule: Rule, device: str) -> None:
    """The same of several tasks' gradients, which gramstep adds up in the call that steps."""
    weights = np.random.default_rng(problem.tasks).standard_normal(problem.tasks)
    got = run_gramstep(problem, rule, device, aggregator=named("Constant", values=weights))
    gradients = weighted_sums(problem, weights, np.float64)
    how = {"gradients": gradients, "foreach": False}
    exact_steps = run_torch(problem, rule, torch.float64, resume=got, **how)
    combined = combined_gradients(problem, device, weights_of=constant_weights(weights))
    assert_steps_right(problem, got, exact_steps, bounded_steps(problem, rule, got, combined))
    exact = run_torch(problem, rule, torch.float64, **how)
    how["gradients"] = weighted_sums(problem, weights, np.float32)
    assert_as_accurate(problem, got, run_torch(problem, rule, device=device, **how), exact)


def assert_defaults_are_torchs(rule: Rule, device: str) -> None:
    """An option that is left out means what it means in torch.optim."""
    assert rule.text() == rule.name
    problem = make_problem(MATRIX_TENSORS, MATRIX_GROUPS, steps=3)
    got = run_gramstep(problem, rule, device)
    exact = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(problem, got, exact, bounded_steps(problem, rule, got))


def assert_state_is_torchs(rule: Rule, device: str) -> None:
    """Of every tensor a rule that treats matrices apart keeps what torch does, by its names; asking
    for other state, or for that of all tensors, is refused."""
    problem = make_problem(MATRIX_TENSORS, MATRIX_GROUPS, steps=1)
    run, theirs = GramstepRun(problem, rule, device), TorchRun(problem, rule, torch.float32)
    theirs.set_gradients(0, np.zeros(problem.size))
    theirs.optimizer.step()
    names = set(run.optimizer.state_names())
    for tensor, parameter in zip(problem.tensors, theirs.params, strict=True):
        if parameter.numel() == 0:  # a matrix to torch, and not to gramstep
            continue
        kept = {k: v for k, v in theirs.optimizer.state[parameter].items() if k != "step"}
        for name, values in kept.items():
            own = run.view(run.optimizer.state_of(name, tensor.name))
            assert own.numel() == values.numel(), (tensor.name, name)
        for name in names - set(kept):
            words = (f'"{name}"', tensor.name, rule.name)
            assert_raises(lambda n=name, t=tensor: run.optimizer.state_of(n, t.name), *words)
    for name in names:
        assert_raises(lambda n=name: run.optimizer.state(n), rule.name, "segment")
