"""Schedules and warm-up beside torch.optim.lr_scheduler: learning rates, and whole runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from compare import assert_as_accurate, assert_steps_right
from gramstep_c import named, names_of
from problems import Problem, eventful_problem, make_problem
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
    trajectory_of,
)

STEPS = 100
LR = 0.02

Scheduler = Any
Maker = Callable[[torch.optim.Optimizer], Scheduler]

# Relative, of the double precision that both sides work in: torch multiplies the last learning rate
# by a ratio, a few roundings a step. And a few roundings of the largest: where a cosine ends at 0.
RELATIVE = 1e-12
OF_LARGEST = 4 * np.finfo(np.float64).eps


@dataclass
class Case:
    """A schedule by gramstep's text and options, and what makes torch's."""

    schedule: str
    make: Maker
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = STEPS


def linear_then(steps: int, factor: float, then: Maker) -> Maker:
    """torch's warm-up: LinearLR, and another scheduler when it is over."""

    def make(optimizer: torch.optim.Optimizer) -> Scheduler:
        first = lr_scheduler.LinearLR(optimizer, factor, total_iters=steps)
        return lr_scheduler.SequentialLR(optimizer, [first, then(optimizer)], [steps])

    return make


def warmup(steps: int, factor: float) -> dict[str, Any]:
    return {"warmup_steps": steps, "warmup_start_factor": factor}


def stable_decay(step: int) -> float:
    """Warm-up within 10 steps, stable until 60, down within 30, and then nothing."""
    if step < 10:
        return 0.1 + 0.9 * step / 10
    return 1.0 - min(max(step - 60, 0), 30) / 30


def one_cycle(**options: Any) -> Case:
    """OneCycleLR with torch's names and defaults."""

    def make(optimizer: torch.optim.Optimizer) -> Scheduler:
        largest = [group["lr"] for group in optimizer.param_groups]
        made = {"total_steps": STEPS, **options}
        return lr_scheduler.OneCycleLR(optimizer, largest, **made)

    renamed = {"total_steps": STEPS, **options}
    if how := renamed.pop("anneal_strategy", None):
        renamed["anneal"] = {"cos": "cosine", "linear": "linear"}[how]
    return Case(named("OneCycleLR", **renamed), make)


def cosine(length: int, lowest: float = 0.0) -> Maker:
    return lambda o: lr_scheduler.CosineAnnealingLR(o, length, lowest)


CASES = {
    "constant": Case("ConstantLR", lambda o: lr_scheduler.ConstantLR(o, 1.0)),
    "cosine": Case("CosineAnnealingLR(total_steps=100)", cosine(STEPS)),
    "cosine beyond": Case("CosineAnnealingLR(total_steps=13)", cosine(13)),
    "cosine of one step": Case("CosineAnnealingLR(total_steps=1, min_lr=0.001)", cosine(1, 1e-3)),
    "cosine above": Case("CosineAnnealingLR(total_steps=40, min_lr=0.005)", cosine(40, 5e-3)),
    "polynomial": Case(
        "PolynomialLR(total_steps=80)", lambda o: lr_scheduler.PolynomialLR(o, 80, 1.0)
    ),
    "square": Case(
        "PolynomialLR(total_steps=90, exponent=2)", lambda o: lr_scheduler.PolynomialLR(o, 90, 2)
    ),
    "root": Case(
        "PolynomialLR(total_steps=90, exponent=0.9)",
        lambda o: lr_scheduler.PolynomialLR(o, 90, 0.9),
    ),
    "steps": Case("StepLR(step_size=30)", lambda o: lr_scheduler.StepLR(o, 30)),
    "exponential": Case(
        "StepLR(step_size=1, gamma=0.97)", lambda o: lr_scheduler.ExponentialLR(o, 0.97)
    ),
    "warm-up": Case(
        "ConstantLR", lambda o: lr_scheduler.LinearLR(o, 0.25, total_iters=20), warmup(20, 0.25)
    ),
    "warm-up and cosine": Case(
        "CosineAnnealingLR(total_steps=70)",
        linear_then(20, 0.01, cosine(70)),
        warmup(20, 0.01),
    ),
    "warm-up and steps": Case(
        "StepLR(step_size=20, gamma=0.5)",
        linear_then(5, 0.5, lambda o: lr_scheduler.StepLR(o, 20, 0.5)),
        warmup(5, 0.5),
    ),
    "warm-up, stable, decay": Case(
        "StableDecayLR(stable_steps=50, decay_steps=30)",
        lambda o: lr_scheduler.LambdaLR(o, stable_decay),
        warmup(10, 0.1),
    ),
    "one cycle": one_cycle(),
    "one cycle, linear": one_cycle(anneal_strategy="linear", pct_start=0.45, div_factor=10.0),
    "one cycle, three phases": one_cycle(three_phase=True, final_div_factor=100.0),
    "one cycle, three linear phases": one_cycle(
        three_phase=True, anneal_strategy="linear", base_momentum=0.5, max_momentum=0.9
    ),
    "one cycle, lr alone": one_cycle(cycle_momentum=False),
}
CYCLING = [name for name in CASES if name.startswith("one") and name != "one cycle, lr alone"]


def torchs_numbers(rule: Rule, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Learning rate and momentum or beta1 of every step, by torch's scheduler."""
    optimizer = rule.torch_class()([torch.zeros(1, requires_grad=True)], **rule.options)
    scheduler, group, numbers = case.make(optimizer), optimizer.param_groups[0], []
    for step in range(case.steps):
        numbers.append((group["lr"], group.get("momentum", group.get("betas", [0.0])[0])))
        optimizer.step()
        if step + 1 < case.steps:  # a last one is beyond what OneCycleLR has
            scheduler.step()
    lr, momentum = np.array(numbers).T
    return lr, momentum


def test_every_schedule_is_here() -> None:
    assert {case.schedule.split("(")[0] for case in CASES.values()} == set(names_of("schedule"))


@pytest.mark.parametrize("how", ["made", "set"])
@pytest.mark.parametrize("name", CASES)
def test_learning_rates(name: str, how: str, device: str) -> None:
    """The report's lr is torch's, whether the optimizer was made with the schedule or given it."""
    case, rule = CASES[name], Rule("SGD", {"lr": LR, "momentum": 0.9})
    expected, _ = torchs_numbers(rule, case)
    options = {"schedule": case.schedule, **case.options}
    given = options if how == "made" else {"schedule": "StepLR(gamma=0)"}
    run = GramstepRun(make_problem(steps=case.steps), rule, device, **given)
    if how == "set":
        run.optimizer.set_schedule(case.schedule, *case.options.values())
    got = []
    for step in range(case.steps):
        run.step(step)
        got.append(run.optimizer.report().numbers.lr)
    np.testing.assert_allclose(got, expected, rtol=RELATIVE, atol=OF_LARGEST * LR)


def test_beyond_one_cycle(device: str) -> None:
    """torch raises beyond total_steps; gramstep stays at the last step's learning rate."""
    rule = Rule("SGD", {"lr": LR, "momentum": 0.9})
    run = GramstepRun(make_problem(steps=8), rule, device, schedule="OneCycleLR(total_steps=5)")
    lrs = []
    for step in range(8):
        run.step(step)
        lrs.append(run.optimizer.report().numbers.lr)
    np.testing.assert_allclose(lrs[4:], LR / 25 / 1e4, rtol=RELATIVE, atol=OF_LARGEST * LR)


def test_skipped_step_does_not_count(device: str) -> None:
    """Nor does it in torch, where GradScaler's user takes care of the scheduler."""
    problem = make_problem(steps=6)
    problem.rows[2, 0, 0] = np.nan
    rule, options = Rule("SGD", {"lr": LR}), {"non_finite": 1, "schedule": "StepLR(gamma=0.5)"}
    run, lrs = GramstepRun(problem, rule, device, **options), []
    for step in range(problem.steps):
        run.step(step)
        lrs.append(run.optimizer.report().numbers.lr)
    assert lrs == [LR * 0.5**count for count in (0, 1, 2, 2, 3, 4)]


def run_scheduled(problem: Problem, rule: Rule, case: Case, dtype: torch.dtype) -> Trajectory:
    """torch's run under its own scheduler."""
    steps = []
    with default_dtype(dtype):
        run = TorchRun(problem, rule, dtype, foreach=False)
        scheduler = case.make(run.optimizer)
        for step, gradient in enumerate(single_gradients(problem)):
            run.set_gradients(step, gradient)
            run.optimizer.step()
            if step + 1 < case.steps:
                scheduler.step()
            steps.append(run.states())
    return trajectory_of(steps)


SGD = Rule("SGD", {"lr": LR, "momentum": 0.9, "nesterov": True})
ADAM = Rule("Adam", {"lr": LR})
ADAMW = Rule("AdamW", {"lr": LR, "weight_decay": 0.1})


@pytest.mark.parametrize("name", CASES)
def test_runs_under_schedules(name: str, device: str) -> None:
    """Groups, each with a scale of its own; tensors that miss gradients."""
    case, rule, problem = CASES[name], ADAMW, eventful_problem()
    got = run_gramstep(problem, rule, device, schedule=case.schedule, **case.options)
    exact = run_scheduled(problem, rule, case, torch.float64)
    assert_as_accurate(problem, got, run_scheduled(problem, rule, case, torch.float32), exact)


@pytest.mark.parametrize("rule", [SGD, ADAM, Rule("NAdam", {"lr": LR})], ids=lambda rule: rule.name)
@pytest.mark.parametrize("name", CYCLING)
def test_cycling_momentum(name: str, rule: Rule, device: str) -> None:
    """Every step has the momentum, or beta1, of torch's cycle."""
    case = CASES[name]
    lr, momentum = torchs_numbers(rule, case)
    problem = replace(make_problem(), lr=lr / LR, momentum=momentum)
    got = run_gramstep(problem, rule, device, schedule=case.schedule)
    steps = iter(momentum)

    def set_momentum(run: TorchRun) -> None:
        now = next(steps)
        for group in run.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (now, group["betas"][1])
            else:
                group["momentum"] = now

    how = {"before_step": set_momentum, "foreach": False}
    exact_steps = run_torch(problem, rule, torch.float64, resume=got, **how)
    assert_steps_right(problem, got, exact_steps, bounded_steps(problem, rule, got))
    exact = run_scheduled(problem, rule, case, torch.float64)
    assert_as_accurate(problem, got, run_scheduled(problem, rule, case, torch.float32), exact)
