"""Schedule-Free SGD and AdamW beside their authors' package, schedulefree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bounded import Bounded, given
from compare import (
    assert_as_accurate,
    assert_near,
    assert_padding_untouched,
    assert_steps_right,
)
from problems import GROUPED_TENSORS, Group, Problem, eventful_problem, make_problem
from rules import Rule
from trajectories import (
    GramstepRun,
    TorchRun,
    Trajectory,
    bounded_steps,
    default_dtype,
    run_gramstep,
    run_torch,
    single_gradients,
    to_host,
    trajectory_of,
)

RULES = [
    Rule("ScheduleFreeSGD"),
    Rule("ScheduleFreeSGD", {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.5}),
    Rule("ScheduleFreeSGD", {"lr": 0.1, "r": 1.0, "weight_lr_power": 0.0}),
    Rule("ScheduleFreeSGD", {"lr": 0.1, "r": 0.5, "weight_lr_power": 1.5, "momentum": 0.98}),
    Rule("ScheduleFreeAdamW"),
    Rule("ScheduleFreeAdamW", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.98, 0.9)}),
    Rule("ScheduleFreeAdamW", {"lr": 0.01, "r": 2.0, "weight_lr_power": 0.5, "eps": 1e-3}),
]
ONE_OF_EACH = [RULES[1], RULES[5]]


def quiet_problem() -> Problem:
    """Groups with a learning rate and a decay of their own, and a learning rate that is 0 at first,
    falls, rises and vanishes. Every tensor has all gradients: the authors count a group's steps."""
    groups = {
        "plain": Group(weight_decay=0.0),
        "slow": Group(lr_scale=0.25),
        "ascent": Group(lr_scale=2.0, weight_decay=0.05),
        "descent": Group(),
    }
    problem = make_problem(GROUPED_TENSORS, groups, seed=1)
    problem.lr[:2] = 0.0
    problem.lr[30:50] = 0.1
    problem.lr[50:60] = 3.0
    problem.lr[60:65] = 0.0
    problem.lr[65:70] = 1e-28
    return problem


PROBLEMS = {"steady": make_problem, "quiet": quiet_problem}


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_steps_are_the_authors(rule: Rule, kind: str, device: str) -> None:
    problem = PROBLEMS[kind]()
    got = run_gramstep(problem, rule, device)
    assert_padding_untouched(problem, rule, got)
    exact_steps = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(problem, got, exact_steps, bounded_steps(problem, rule, got))
    exact = run_torch(problem, rule, torch.float64, foreach=False)
    for foreach in (False, True):
        theirs = run_torch(problem, rule, device=device, foreach=foreach)
        assert_as_accurate(problem, got, theirs, exact)


def warmed_torch(problem: Problem, rule: Rule, steps: int, dtype: torch.dtype) -> Trajectory:
    """The authors' run with their own warm-up."""
    taken = []
    with default_dtype(dtype):
        run = TorchRun(problem, rule, dtype, foreach=False)
        for group in run.optimizer.param_groups:
            group["warmup_steps"] = steps
        for step, gradient in enumerate(single_gradients(problem)):
            run.set_gradients(step, gradient)
            run.optimizer.step()
            taken.append(run.states())
    return trajectory_of(taken)


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=str)
def test_warmup_is_the_authors(rule: Rule, device: str) -> None:
    """Theirs over W steps is (k + 1) / W; gramstep's, as torch's LinearLR, begins at a factor of
    1/W and is over after W - 1 steps."""
    problem, steps = make_problem(), 30
    options = {"warmup_steps": steps - 1, "warmup_start_factor": 1 / steps}
    got = run_gramstep(problem, rule, device, **options)
    factors = np.minimum((np.arange(problem.steps) + 1) / steps, 1.0)
    warmed = replace(problem, lr=factors)
    exact_steps = run_torch(warmed, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(problem, got, exact_steps, bounded_steps(warmed, rule, got))
    exact = warmed_torch(problem, rule, steps, torch.float64)
    assert_as_accurate(problem, got, warmed_torch(problem, rule, steps, torch.float32), exact)


def bounded_average(rule: Rule, y: Bounded, z: Bounded) -> Bounded:
    """x, of which y is the momentum's share."""
    beta = rule["momentum"] if rule.name == "ScheduleFreeSGD" else rule["betas"][0]
    return y + (z - y) * (1 - 1 / beta)


@pytest.mark.parametrize("in_place", [False, True], ids=["elsewhere", "in place"])
@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=str)
def test_evaluation_is_the_authors(rule: Rule, in_place: bool, device: str) -> None:
    """evaluation_params is what their eval() makes of the parameters, at any time, and the step
    after it goes on from where they were."""
    problem = make_problem(steps=20)
    run, real = GramstepRun(problem, rule, device), problem.real()
    theirs = TorchRun(problem, rule, torch.float64, foreach=False)
    for step, gradient in enumerate(single_gradients(problem)):
        run.step(step)
        theirs.set_gradients(step, gradient)
        theirs.optimizer.step()
        theirs.set_states(run.states())
        kept = run.params.clone()
        out = run.params if in_place else run.put(np.full(problem.size, -7.0))
        run.optimizer.evaluation_params(run.params, out)
        theirs.optimizer.eval()
        y, z = (given(np.where(real, each, 0.0)) for each in (to_host(kept), run.state("z")))
        bound, got = bounded_average(rule, y, z), to_host(out)
        error = np.abs(got - to_host(theirs.flat))
        assert (error <= bound.error * (1 + 2.0**-20))[real].all()
        untouched = to_host(kept) if in_place else np.float32(-7.0)
        np.testing.assert_array_equal(got[~real], np.broadcast_to(untouched, real.shape)[~real])
        theirs.optimizer.train()
        run.params.copy_(kept)


@pytest.mark.parametrize("rule", [Rule("AdamW"), Rule("SGD")], ids=str)
def test_other_rules_evaluate_what_they_step(rule: Rule, device: str) -> None:
    problem = make_problem(steps=2)
    run = GramstepRun(problem, rule, device)
    run.step(0)
    out = run.put(np.zeros(problem.size))
    run.optimizer.evaluation_params(run.params, out)
    real = problem.real()
    np.testing.assert_array_equal(to_host(out)[real], run.state("param")[real])


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=str)
def test_before_the_first_step(rule: Rule, device: str) -> None:
    """The average of no steps is the parameters, also of a tensor that never had a gradient."""
    problem = eventful_problem()
    run, real = GramstepRun(problem, rule, device), problem.real()
    for step in range(3):
        out = run.put(np.zeros(problem.size))
        run.optimizer.evaluation_params(run.params, out)
        never = problem.layout.segment("never")
        np.testing.assert_array_equal(to_host(out)[never], problem.params[never])
        if step == 0:
            np.testing.assert_array_equal(to_host(out)[real], problem.params[real])
        run.step(step)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_tensors_without_gradients(rule: Rule, device: str) -> None:
    """Every tensor's average is of its own steps. The authors' package counts a group's steps, also
    for a tensor that has no gradient: here the formula alone is asked."""
    problem = eventful_problem()
    got = run_gramstep(problem, rule, device)
    bounds = bounded_steps(problem, rule, got)
    values = {name: bound.value for name, bound in bounds.items()}
    assert_near(problem, got, values, {name: bound.error for name, bound in bounds.items()})


def kept_numbers(problem: Problem, rule: Rule, steps: int) -> dict[str, Any]:
    """weight_sum and lr_max by the authors after some steps, tensor by tensor."""
    run = TorchRun(problem, rule, torch.float64, foreach=False)
    for step, gradient in list(enumerate(single_gradients(problem)))[:steps]:
        run.set_gradients(step, gradient)
        run.set_lr(step)
        run.optimizer.step()
    groups = run.optimizer.param_groups
    return {name: np.array([g[name] for g in groups]) for name in ("weight_sum", "lr_max")}


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_kept_numbers(rule: Rule, device: str) -> None:
    """What the rule keeps of every segment is what the authors keep of every group."""
    problem = quiet_problem()
    run = GramstepRun(problem, rule, device)
    for step in range(problem.steps):
        run.step(step)
    count = len(problem.tensors)
    for name, expected in kept_numbers(problem, rule, problem.steps).items():
        got = run.optimizer.segment_state(name, count)
        # A hundred terms, each with the roundings of |y log x| and a few: see elementary.hpp.
        np.testing.assert_allclose(got, expected, rtol=1e-13)
