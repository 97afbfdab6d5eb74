"""Rules, clips and learning rates set in the middle of a run, beside torch's param_groups."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from compare import assert_as_accurate, assert_near
from problems import Problem, eventful_problem, make_problem
from rule_grids import MUON, ONE_OF_EACH
from rules import Rule
from test_clip_and_scale import bits
from trajectories import (
    GramstepRun,
    TorchRun,
    Trajectory,
    bounded_steps,
    run_torch,
    single_gradients,
    trajectory_of,
)

HALF = 50

# The rule before and after, where no state changes its name.
NEW_OPTIONS = [
    (
        Rule("SGD", {"lr": 0.05, "momentum": 0.9}),
        Rule("SGD", {"lr": 0.01, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    ),
    (
        Rule("Adam", {"lr": 0.01}),
        Rule("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ),
    (Rule("AdamW", {"lr": 0.01}), Rule("AdamW", {"lr": 0.01, "maximize": True})),
    (Rule("RAdam", {"lr": 0.01}), Rule("RAdam", {"betas": (0.9, 0.9), "weight_decay": 0.1})),
    (Rule("Adamax"), Rule("Adamax", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3})),
    (Rule("Adagrad"), Rule("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "eps": 1e-3})),
    (Rule("Adadelta"), Rule("Adadelta", {"rho": 0.5, "eps": 1e-3, "lr": 0.5})),
    (
        Rule("RMSprop", {"momentum": 0.9, "centered": True}),
        Rule("RMSprop", {"momentum": 0.5, "centered": True, "alpha": 0.9, "eps": 1e-3}),
    ),
    (
        Rule("Adafactor", {"lr": 0.05}),
        Rule("Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-3, 0.1), "d": 1.5}),
    ),
    (
        Rule("Muon", {"lr": 0.01}),
        Rule("Muon", {"lr": 0.02, "momentum": 0.5, "nesterov": False, "weight_decay": 0.0}),
    ),
]
NEW_RULES = [
    (Rule("Adam", {"lr": 0.01}), Rule("AdamW", {"lr": 0.02})),
    (Rule("AdamW", {"lr": 0.01}), Rule("Adam", {"lr": 0.02, "weight_decay": 0.1})),
    (Rule("Adam", {"lr": 0.01}), Rule("RAdam", {"lr": 0.02})),
    (Rule("Adam", {"lr": 0.01, "amsgrad": True}), Rule("AdamW", {"lr": 0.02, "amsgrad": True})),
]
# What the second rule does not keep is left where it was.
FEWER = [
    (Rule("Adam", {"lr": 0.01, "amsgrad": True}), Rule("Adam", {"lr": 0.01})),
    (Rule("Adam", {"lr": 0.01}), Rule("Lion", {"lr": 0.01, "weight_decay": 0.1})),
    (Rule("NAdam", {"lr": 0.01}), Rule("AdamW", {"lr": 0.01})),
    (Rule("SGD", {"lr": 0.01, "momentum": 0.9}), Rule("SGD", {"lr": 0.01})),
]
# Rules that torch has not, with the state of rules that it has.
SAME = [
    (Rule("AdamW", {"lr": 0.01}), Rule("LAMB", {"lr": 0.01, "weight_decay": 0.1})),
    (Rule("SGD", {"lr": 0.01, "momentum": 0.9}), Rule("LARS", {"lr": 0.5})),
]


def two_rules(problem: Problem, first: Rule, second: Rule, device: str) -> Trajectory:
    """gramstep's run, the second rule from the middle on."""
    run, steps = GramstepRun(problem, first, device), []
    for step in range(problem.steps):
        if step == HALF:
            run.optimizer.set_rule(second.text())
            run.lr = second["lr"]
        run.step(step)
        steps.append(run.states())
    return trajectory_of([{name: each[name] for name in steps[-1]} for each in steps])


def of_half(run: Trajectory, half: int) -> Trajectory:
    part = slice(HALF) if half == 0 else slice(HALF, None)
    return {name: values[part] for name, values in run.items()}


@pytest.mark.parametrize(
    "rules", NEW_OPTIONS + NEW_RULES, ids=lambda rules: "-".join(map(str, rules))
)
def test_new_rule_is_torchs(rules: tuple[Rule, Rule], device: str) -> None:
    """Every step is that of the rule of the moment, from the state and the counts so far."""
    problem = eventful_problem()
    got = two_rules(problem, *rules, device)
    for half, rule in enumerate(rules):
        exact = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
        bounds = bounded_steps(problem, rule, got)
        errors = {name: bound.error for name, bound in bounds.items()}
        assert_near(problem, *(of_half(each, half) for each in (got, exact, errors)))


@pytest.mark.parametrize("rules", FEWER + SAME, ids=lambda rules: "-".join(map(str, rules)))
def test_rule_that_keeps_no_more(rules: tuple[Rule, Rule], device: str) -> None:
    problem = make_problem()
    got = two_rules(problem, *rules, device)
    assert set(got) == {"param", *rules[1].state_names()}
    bounds = bounded_steps(problem, rules[1], got)
    values = {name: bound.value for name, bound in bounds.items()}
    errors = {name: bound.error for name, bound in bounds.items()}
    assert_near(problem, *(of_half(each, 1) for each in (got, values, errors)))


def torch_groups(problem: Problem, rules: tuple[Rule, Rule], dtype: torch.dtype) -> Trajectory:
    """torch's run with the options of its groups changed in the middle."""
    run, steps = TorchRun(problem, rules[0], dtype, foreach=False), []
    for step, gradient in enumerate(single_gradients(problem)):
        run.set_gradients(step, gradient)
        if step == HALF:
            run.rule = rules[1]
            for group in run.optimizer.param_groups:
                group.update(rules[1].options)
        run.set_lr(step)
        run.optimizer.step()
        steps.append(run.states())
    return trajectory_of(steps)


@pytest.mark.parametrize("rules", NEW_OPTIONS, ids=lambda rules: rules[0].name)
def test_groups_changed_in_torch(rules: tuple[Rule, Rule], device: str) -> None:
    """The whole run is torch's with param_groups changed at the same step."""
    problem = make_problem()
    got = two_rules(problem, *rules, device)
    exact, theirs = (torch_groups(problem, rules, kind) for kind in (torch.float64, torch.float32))
    assert_as_accurate(problem, got, theirs, exact)


@pytest.mark.parametrize("rule", [*ONE_OF_EACH, MUON], ids=lambda rule: rule.name)
def test_same_rule_changes_nothing(rule: Rule, device: str) -> None:
    problem = eventful_problem()
    plain, told = (GramstepRun(problem, rule, device) for _ in range(2))
    for step in range(20):
        told.optimizer.set_rule(rule.text())
        plain.step(step)
        told.step(step)
    assert bits(plain.states()) == bits(told.states())


def test_clip_norm_set(device: str) -> None:
    """From the next step on; the report's norms say so."""
    run = GramstepRun(make_problem(steps=4), Rule("SGD"), device, clip_norm=1e30)
    found = []
    for step, clip_norm in enumerate([1e30, 0.5, 0.25, 1e30]):
        run.optimizer.set_clip_norm(clip_norm)
        run.step(step)
        numbers = run.optimizer.report().numbers
        shrunk = numbers.norm * min(1.0, clip_norm / (numbers.norm + 1e-6))
        np.testing.assert_allclose(numbers.clipped_norm, shrunk, rtol=1e-15)
        found.append(numbers.clipped_norm)
    assert all(abs(a - b) > 0.1 for a, b in pairwise(found))
