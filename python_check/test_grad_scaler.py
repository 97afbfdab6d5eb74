"""Loss scales that adapt and scales handed to the step, beside torch.amp.GradScaler."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from compare import assert_as_accurate, assert_steps_right
from gramstep_c import GramstepError, NonFinite
from problems import Problem, make_problem
from rule_grids import ONE_OF_EACH
from rules import Rule
from test_clip_and_scale import bits, kept_part
from trajectories import (
    GramstepRun,
    TorchRun,
    Trajectory,
    bounded_steps,
    run_torch,
    single_gradients,
    to_host,
    trajectory_of,
)

SCALING = {"growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 7}
ADAMW = Rule("AdamW", {"lr": 0.01, "weight_decay": 0.1})


def overflowing_problem(bad: list[int]) -> Problem:
    """Steps whose gradients are not finite, whatever the scale."""
    problem = make_problem(steps=60, seed=3)
    values = np.resize([np.inf, np.nan, -np.inf], len(bad))
    problem.rows[bad, 0, problem.layout.segment("weight").start] = values
    return problem


def run_grad_scaler(
    problem: Problem, rule: Rule, device: str, first: float, **how: bool
) -> tuple[Trajectory, list[float]]:
    """torch's run under its GradScaler, and the scale before each step and after the last."""
    run, steps = TorchRun(problem, rule, torch.float32, device, **how), []
    scaler = torch.amp.GradScaler(device, init_scale=first, **SCALING)
    scaler.scale(torch.zeros((), device=device))  # which makes its tensors
    scales = [scaler.get_scale()]
    for step, gradient in enumerate(single_gradients(problem)):
        with np.errstate(over="ignore"):
            run.set_gradients(step, gradient * np.float32(scales[-1]))
        scaler.step(run.optimizer)
        scaler.update()
        steps.append(run.states())
        scales.append(scaler.get_scale())
    return trajectory_of(steps), scales


def run_adapting(
    problem: Problem, rule: Rule, device: str, first: float
) -> tuple[Trajectory, list[float]]:
    """gramstep's run with a loss scale that adapts, which is asked for as losses are: in memory."""
    options = {"loss_scale": first, "dynamic_loss_scale": 1, **SCALING}
    run, steps = GramstepRun(problem, rule, device, **options), []
    place = run.optimizer.loss_scale()
    memory = torch.as_tensor(np.asarray(place) if device == "cpu" else place, device=device)
    scales = [memory.item()]
    for step in range(problem.steps):
        with np.errstate(over="ignore"):
            run.step(step, gradient_scale=scales[-1])
        steps.append(run.states())
        scales.append(memory.item())
    return trajectory_of(steps), scales


def assert_right(problem: Problem, rule: Rule, got: Trajectory, kept: list[int]) -> None:
    """The steps that were taken are torch's."""
    part = kept_part(problem, kept)
    ours = {name: values[kept] for name, values in got.items()}
    exact_steps = run_torch(part, rule, torch.float64, resume=ours, foreach=False)
    assert_steps_right(part, ours, exact_steps, bounded_steps(part, rule, ours))


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=lambda rule: rule.name)
def test_scale_adapts_as_grad_scaler(rule: Rule, device: str) -> None:
    """The very first step overflows, two in a row, and the last of an interval: the same scales,
    and the steps after them are right."""
    bad = [0, 8, 9, 23, 40]
    problem = overflowing_problem(bad)
    theirs, expected = run_grad_scaler(problem, rule, device, 2.0**10, foreach=False)
    got, scales = run_adapting(problem, rule, device, 2.0**10)
    assert scales == expected
    assert {2.0, 1.0, 0.5} == {after / before for before, after in pairwise(scales)}
    kept = [step for step in range(problem.steps) if step not in bad]
    assert_right(problem, rule, got, kept)
    part = kept_part(problem, kept)
    exact = run_torch(part, rule, torch.float64, foreach=False)
    ours, torchs = ({name: run[name][kept] for name in run} for run in (got, theirs))
    assert_as_accurate(part, ours, torchs, exact)


# Above it, the square of a gradient is no number of fp32.
LARGEST = float(np.sqrt(np.finfo(np.float32).max))


def test_scale_that_is_far_too_large(device: str) -> None:
    """It backs off until the squares of scaled gradients fit fp32, where torch's stops as soon as
    they themselves do; then both grow alike."""
    problem, rule = make_problem(steps=60, seed=3), Rule("SGD")
    largest = np.abs(problem.rows[:, :, problem.real()]).max(axis=(1, 2)).astype(float)
    _, theirs = run_grad_scaler(problem, rule, device, 2.0**125, foreach=False)
    _, ours = run_adapting(problem, rule, device, 2.0**125)
    expected, good = [2.0**125], 0
    for size in largest:
        skip = size * expected[-1] > LARGEST
        good = 0 if skip else good + 1
        grows = good == SCALING["growth_interval"]
        good = 0 if grows else good
        expected.append(expected[-1] * (0.5 if skip else 2.0 if grows else 1.0))
    assert ours == expected
    assert all(own <= other for own, other in zip(ours, theirs, strict=True))


def test_needs_a_policy_that_skips(device: str) -> None:
    """A loss scale that adapts makes skip of a policy that is left out."""
    problem = overflowing_problem([1])
    run = GramstepRun(problem, ADAMW, device, dynamic_loss_scale=1, loss_scale=4.0)
    run.step(0, gradient_scale=4.0)
    before = bits(run.states())
    run.step(1, gradient_scale=4.0)
    assert bits(run.states()) == before
    report = run.optimizer.report().numbers
    assert (report.steps, report.skipped_steps) == (1, 1)


class FusedStep:
    """torch's fused step with what its GradScaler hands over: grad_scale and found_inf."""

    def __init__(self, problem: Problem, rule: Rule, device: str) -> None:
        self.run = TorchRun(problem, rule, torch.float32, device, fused=True)

    def take(self, step: int, gradient: np.ndarray, scale: float, found: float) -> None:
        self.run.set_gradients(step, gradient)
        device = self.run.flat.device
        self.run.optimizer.grad_scale = torch.tensor(scale, device=device)
        self.run.optimizer.found_inf = torch.tensor(found, device=device)
        self.run.optimizer.step()


SCALES = np.resize([1.0, 2.0, 0.5, 1024.0], 60)  # which change no bit of a gradient
FUSED = [rule for rule in ONE_OF_EACH if rule.name in ("SGD", "Adam", "AdamW")]


def scalars(run: GramstepRun, **values: float) -> dict[str, Any]:
    """Numbers in memory of the optimizer's device."""
    return {name: run.put(np.array([value], np.float32)) for name, value in values.items()}


@pytest.mark.parametrize("policy", [NonFinite.DEFAULT, NonFinite.SKIP], ids=lambda p: p.name)
@pytest.mark.parametrize("rule", FUSED, ids=lambda rule: rule.name)
def test_scale_handed_over(rule: Rule, policy: NonFinite, device: str) -> None:
    """grad_scale of every step, instead of the optimizer's own; found_inf of some."""
    problem = make_problem(steps=60, seed=3)
    bad, own = [5, 6, 30], {"loss_scale": 64.0}  # which must not be used
    run, steps = GramstepRun(problem, rule, device, non_finite=policy, **own), []
    fused, theirs = FusedStep(problem, rule, device), []
    for step, gradient in enumerate(single_gradients(problem)):
        scale, found = float(SCALES[step]), float(step in bad)
        run.step(step, scale, **scalars(run, grad_scale=scale, found_inf=found))
        assert run.optimizer.report().numbers.skipped == (step in bad)
        steps.append(run.states())
        fused.take(step, gradient * np.float32(scale), scale, found)
        theirs.append(fused.run.states())
    got, torchs = trajectory_of(steps), trajectory_of(theirs)
    kept = [step for step in range(problem.steps) if step not in bad]
    assert_right(problem, rule, got, kept)
    part = kept_part(problem, kept)
    exact = run_torch(part, rule, torch.float64, foreach=False)
    ours, torchs = ({name: each[name][kept] for name in each} for each in (got, torchs))
    assert_as_accurate(part, ours, torchs, exact)


@pytest.mark.parametrize("policy", NonFinite, ids=lambda policy: policy.name)
@pytest.mark.parametrize("found", [1.0, 2.0, 0.5, 1e-30, np.inf, np.nan])
def test_whatever_is_found_is_skipped(found: float, policy: NonFinite, device: str) -> None:
    """found_inf means "not zero": on several devices GradScaler adds up to more than one. torch's
    fused kernels for the CPU compare with 1, and take the step where it is anything else."""
    problem = make_problem(steps=3)
    run = GramstepRun(problem, ADAMW, device, non_finite=policy)
    run.step(0, found_inf=scalars(run, found_inf=0.0)["found_inf"])
    before = bits(run.states())
    refused = pytest.raises(GramstepError) if policy == NonFinite.ERROR else nullcontext()
    with refused:
        run.step(1, **scalars(run, grad_scale=1.0, found_inf=found))
        run.optimizer.report()
    assert bits(run.states()) == before
    assert run.optimizer.report().numbers.skipped_steps == 1
    if device == "cpu":
        fused = FusedStep(problem, ADAMW, device)
        start = to_host(fused.run.flat)
        fused.take(0, next(single_gradients(problem)), 1.0, found)
        moved = not np.array_equal(to_host(fused.run.flat), start, equal_nan=True)
        assert moved == (found != 1.0)


@pytest.mark.parametrize("policy", [NonFinite.DEFAULT, NonFinite.PROPAGATE], ids=lambda p: p.name)
@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_scale_that_cannot_be(scale: float, policy: NonFinite, device: str) -> None:
    """A grad_scale that is no number above 0 counts as a gradient that is not finite."""
    run = GramstepRun(make_problem(steps=3), ADAMW, device, non_finite=policy)
    run.step(0)
    before = bits(run.states())
    run.step(1, **scalars(run, grad_scale=scale))
    assert bits(run.states()) == before
    assert run.optimizer.report().numbers.skipped == 1


def test_handed_over_scale_leaves_own_alone(device: str) -> None:
    """A loss scale that adapts stays where it is in steps that have one of their own."""
    problem = replace(overflowing_problem([2]), lr=np.ones(60))
    options = {"loss_scale": 8.0, "dynamic_loss_scale": 1, "growth_interval": 2}
    run = GramstepRun(problem, ADAMW, device, **options)
    memory = run.optimizer.loss_scale()
    for step in range(6):
        run.step(step, **scalars(run, grad_scale=1.0))
    found = np.asarray(memory) if device == "cpu" else torch.as_tensor(memory, device=device).cpu()
    assert float(found[0]) == 8.0
