"""Muon beside torch.optim's Muon and AdamW: see compare.py for what is asked.

torch rounds the products of its iteration to bfloat16, gramstep does not. So torch's code is run
without that rounding, and then as it is, held to what that rounding may do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from beside_torch import (
    assert_defaults_are_torchs,
    assert_state_is_torchs,
    assert_torchs,
    assert_torchs_of_tasks,
)
from compare import assert_as_accurate, assert_steps_right
from matrix_steps import newton_schulz
from problems import MATRIX_GROUPS, MATRIX_TENSORS, Problem, Tensor, make_problem, matrix_problem
from rules import Rule
from test_schedules import CASES, CYCLING, LR, torchs_numbers
from trajectories import (
    TorchRun,
    Trajectory,
    before_each,
    bounded_steps,
    run_gramstep,
    run_torch,
    single_gradients,
)

MATCH = {"adjust_lr_fn": "match_rms_adamw"}
UP = {"maximize": True}

# What torch's own tests try, torch/testing/_internal/common_optimizers.py of 2.13.
TORCHS: list[dict[str, Any]] = [
    {},
    {"lr": 0.01},
    {"weight_decay": 0.2},
    {"momentum": 0.8},
    {"ns_steps": 6},
    {"ns_coefficients": (3.4, -4.7, 2.0)},
]

# AdamW's options too; an epsilon above most norms; an iteration that converges to orthogonality.
UNUSUAL: list[dict[str, Any]] = [
    {"lr": 0.01, "nesterov": False, "adjust_lr_fn": "original"} | UP,
    {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0},
    {"lr": 0.01, "momentum": 0.5, "nesterov": False, "ns_steps": 1} | MATCH,
    {"lr": 0.01, "eps": 30.0, "ns_steps": 2},
    {"lr": 0.01, "ns_coefficients": (1.5, -0.5, 0.0), "ns_steps": 12} | MATCH | UP,
    {"lr": 0.02, "betas": (0.5, 0.9), "adamw_epsilon": 1e-3, "adamw_lr_scale": 0.25} | MATCH,
    {"lr": 0.02, "betas": (0.0, 0.4), "adamw_lr_scale": 0.0, "weight_decay": 1.0},
]
RULES = [Rule("Muon", options) for options in TORCHS + UNUSUAL]

HEADS = (Tensor("head", (3, 43), task=0), Tensor("other head", (2, 5, 6), "slow", task=1))

# bfloat16 rounds by half of 2^-7 at most.
BF16_UNIT = 2.0**-8


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_steps_are_torchs(rule: Rule, device: str) -> None:
    """Groups with learning rates, decay and directions of their own, matrices that are taken as
    none, tensors that sit out, learning rates of 0 and next to it."""
    assert_torchs(matrix_problem(), rule, device, [{"foreach": False}])


@pytest.mark.parametrize("tasks", [2, 3, 9])
@pytest.mark.parametrize("rule", [RULES[1], RULES[11]], ids=str)
def test_several_tasks(rule: Rule, tasks: int, device: str) -> None:
    problem = make_problem(MATRIX_TENSORS + HEADS, MATRIX_GROUPS, tasks, steps=30, seed=tasks)
    problem.active[5:9, 1::3] = False
    problem.poison_what_is_missing()
    assert_torchs_of_tasks(problem, rule, device)


def test_zero_for_a_while(device: str) -> None:
    """Without a gradient, and none before, there is no direction: nothing but decay."""
    problem = matrix_problem()
    places = dict(zip([t.name for t in problem.tensors], problem.places, strict=True))
    for name in ("tall", "row", "bias", "weight"):
        problem.rows[:20, :, places[name]] = 0.0
    assert_torchs(problem, RULES[1], device, [{"foreach": False}])


def test_defaults_are_torchs(device: str) -> None:
    """But for AdamW's decay, which is Muon's."""
    assert_defaults_are_torchs(Rule("Muon"), device)


def test_state_is_torchs(device: str) -> None:
    assert_state_is_torchs(Rule("Muon"), device)


@pytest.mark.parametrize("name", CYCLING)
def test_cycling_momentum(name: str, device: str) -> None:
    """A cycle's momentum is that of matrices; beta1 of all else stays as it is."""
    case, rule = CASES[name], Rule("Muon", {"lr": LR})
    lr, momentum = torchs_numbers(Rule("SGD", {"lr": LR, "momentum": 0.9}), case)
    problem = replace(make_problem(), lr=lr / LR, momentum=momentum)
    got = run_gramstep(problem, rule, device, schedule=case.schedule)

    def run(dtype: torch.dtype, resume: Trajectory | None = None) -> Trajectory:
        steps = iter(momentum)

        def set_momentum(run: TorchRun) -> None:
            now = next(steps)
            for group in run.optimizer.param_groups:
                group["momentum"] = now

        return run_torch(problem, rule, dtype, resume=resume, before_step=set_momentum)

    exact_steps = run(torch.float64, resume=got)
    assert_steps_right(problem, got, exact_steps, bounded_steps(problem, rule, got))
    assert_as_accurate(problem, got, run(torch.float32), run(torch.float64))


def bf16_iteration(rule: Rule, x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The iteration in float64, every matrix in it off by up to a rounding to bfloat16."""

    def off(values: np.ndarray) -> np.ndarray:
        return values * (1 + BF16_UNIT * random.uniform(-1, 1, values.shape))

    a, b, c = rule["ns_coefficients"]
    x = off(x)
    x = off(x / np.maximum(np.linalg.norm(x), rule["eps"]))
    flat = x.shape[0] <= x.shape[1]
    x = x if flat else x.T
    for _ in range(rule["ns_steps"]):
        gram = off(x @ x.T)
        x = off(a * x + off(b * gram + c * gram @ gram) @ x)
    return x if flat else x.T


def inputs(problem: Problem, rule: Rule, momenta: np.ndarray) -> np.ndarray:
    """What every step makes orthogonal, of the momenta after it."""
    g = np.stack(list(single_gradients(problem))).astype(np.float64)
    g = -g if rule["maximize"] else g
    return g + rule["momentum"] * (momenta - g) if rule["nesterov"] else momenta


def lengths(values: np.ndarray) -> np.ndarray:
    """The norm of every step's matrix."""
    return np.linalg.norm(values, axis=(1, 2))


def most_by_bf16(rule: Rule, u: np.ndarray) -> float:
    """How far rounding takes the iteration at most, as a share of its length; see below."""
    random, exact = np.random.default_rng(0), newton_schulz(rule, u)
    rounded = np.stack([bf16_iteration(rule, each, random) for each in u])
    return 2 * (lengths(rounded - exact) / lengths(exact)).max()


@pytest.mark.parametrize("rule", [RULES[1], RULES[6], RULES[11]], ids=str)
def test_torchs_own_rounding(rule: Rule, device: str) -> None:
    """torch as it is, from what gramstep held before each step: as far as bfloat16 takes it.

    How far that is, is found by rounding every matrix of the iteration at random: twice the most in
    any step, as two implementations are compared elsewhere, and no more than a fifth of the step.
    """
    problem = make_problem(tuple(Tensor(t.name, t.shape) for t in MATRIX_TENSORS), steps=30)
    got = run_gramstep(problem, rule, device)
    theirs = run_torch(problem, rule, resume=got, device=device, bf16=True)
    kept = before_each(got, problem, rule)["param"] * (1 - rule["lr"] * rule["weight_decay"])
    u = inputs(problem, rule, got["momentum_buffer"].astype(np.float64))
    matrices = 0
    for place, shape in zip(problem.places, problem.shapes, strict=True):
        if not rule.is_matrix(shape):
            continue
        ours, other, before, given = (
            values[:, place].astype(np.float64).reshape(-1, *shape)
            for values in (got["param"], theirs["param"], kept, u)
        )
        most, found = most_by_bf16(rule, given), lengths(other - ours) / lengths(ours - before)
        assert (found <= most).all(), (shape, most, found.max())
        assert most < 0.2, shape
        matrices += 1
    assert matrices == 9
