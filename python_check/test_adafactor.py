"""Adafactor beside torch.optim: see compare.py for what is asked."""

from __future__ import annotations

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
from gramstep_c import Layout, Optimizer
from peers import assert_formula
from problems import MATRIX_GROUPS, MATRIX_TENSORS, Tensor, make_problem, matrix_problem
from rules import Rule
from trajectories import TorchRun

DECAY: dict[str, Any] = {"weight_decay": 0.1}
UP = {"maximize": True}

# What torch's own tests try, torch/testing/_internal/common_optimizers.py of 2.13.
TORCHS = [{}, DECAY | {"lr": 0.01}, DECAY | UP, {"beta2_decay": -1.0}, {"d": 1.5}]

# Relative steps of 1 / sqrt(t) for long; a second moment of one step, and of all alike; epsilons
# above what they bound: second moments, means of rows, parameters; an update that is never cut.
UNUSUAL = [
    {"lr": 0.25},
    {"lr": 0.25, "beta2_decay": 0.0} | DECAY,
    {"lr": 0.05, "beta2_decay": -0.3} | UP,
    {"lr": 0.05, "eps": (1e-3, 0.5)},
    {"lr": 0.05, "eps": (0.5, 1e-3)} | DECAY,
    {"lr": 0.05, "eps": (None, 10.0)} | UP,
    {"lr": 0.05, "eps": (1e-8, 0.0), "d": 1.0},
    {"lr": 0.05, "d": 1e3} | DECAY,
    {"lr": 0.1, "eps": (1e-2, 1e-2), "d": 1.25, "beta2_decay": -1.5} | DECAY | UP,
]
RULES = [Rule("Adafactor", options) for options in TORCHS + UNUSUAL]

HEADS = (Tensor("head", (3, 43), task=0), Tensor("other head", (2, 5, 6), "slow", task=1))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_steps_are_torchs(rule: Rule, device: str) -> None:
    """Groups with learning rates, decay and directions of their own, matrices that are taken as
    none, tensors that sit out, learning rates of 0 and next to it."""
    assert_torchs(matrix_problem(), rule, device, [{"foreach": False}, {"foreach": True}])


@pytest.mark.parametrize("tasks", [2, 3, 9])
@pytest.mark.parametrize("rule", [RULES[1], RULES[8]], ids=str)
def test_several_tasks(rule: Rule, tasks: int, device: str) -> None:
    problem = make_problem(MATRIX_TENSORS + HEADS, MATRIX_GROUPS, tasks, steps=30, seed=tasks)
    problem.active[5:9, 1::3] = False
    problem.poison_what_is_missing()
    assert_torchs_of_tasks(problem, rule, device)


@pytest.mark.parametrize("d", [0.0625, 0.5])
def test_updates_cut_below_one(d: float, device: str) -> None:
    """torch does not take a threshold below 1."""
    rule = Rule("Adafactor", {"lr": 0.25, "d": d, **DECAY})
    with pytest.raises(ValueError, match="threshold"):
        TorchRun(make_problem(steps=1), rule, torch.float32)
    assert_formula(matrix_problem(), rule, device)


def test_zero_for_a_while(device: str) -> None:
    """Parameters or gradients of zero: epsilon2 moves the ones, nothing but decay the others."""
    problem = matrix_problem()
    places = dict(zip([t.name for t in problem.tensors], problem.places, strict=True))
    for name in ("weight", "cube", "scalar"):
        problem.params[places[name]] = 0.0
    for name in ("tall", "row", "bias"):
        problem.rows[:20, :, places[name]] = 0.0
    assert_torchs(problem, Rule("Adafactor", {"lr": 0.05, **DECAY}), device, [{"foreach": False}])


def test_defaults_are_torchs(device: str) -> None:
    assert_defaults_are_torchs(Rule("Adafactor"), device)


def test_state_is_torchs(device: str) -> None:
    assert_state_is_torchs(Rule("Adafactor"), device)


def test_torch_takes_no_step_of_nothing() -> None:
    """Why a tensor without elements is left out of torch's runs: torch divides by their number."""
    nothing = torch.zeros(0, 3, requires_grad=True)
    nothing.grad = torch.zeros(0, 3)
    with pytest.raises(ZeroDivisionError):
        torch.optim.Adafactor([nothing]).step()
    layout = Layout()
    layout.add("nothing", (0, 3))
    Optimizer(layout, "Adafactor").step(np.zeros(0, np.float32), [np.zeros(0, np.float32)])
