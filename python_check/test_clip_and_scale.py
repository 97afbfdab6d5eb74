"""Clipping, loss scales and gradients that are not finite, beside torch's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aggregation import combined_gradients, combined_step, constant_weights
from compare import DOUBLE, assert_as_accurate, assert_steps_right
from gramstep_c import GramstepError, NonFinite, Status
from problems import GROUPED_TENSORS, GROUPS, Problem, Tensor, eventful_problem, make_problem
from rules import Rule
from trajectories import (
    GramstepRun,
    States,
    TorchRun,
    Trajectory,
    bounded_steps,
    run_gramstep,
    run_torch,
    single_gradients,
    trajectory_of,
)

SGD = Rule("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5})
ADAM = Rule("Adam", {"lr": 0.01, "amsgrad": True})
ADAMW = Rule("AdamW", {"lr": 0.01, "weight_decay": 0.1})
RULES = [SGD, ADAM, ADAMW]
CLIP = 0.05  # so small that the 1e-6 beside the norm tells


def headed_problem(missing: float = 0.3) -> Problem:
    """Groups, heads beside the shared part, and norms far above and below CLIP.

    missing: how often every fourth tensor has no gradient.
    """
    heads = (Tensor("head", (3, 43), task=0), Tensor("head bias", (3,), "slow", task=0))
    problem = make_problem(GROUPED_TENSORS + heads, GROUPS, steps=60, seed=3)
    some = problem.active[:, 1::4]
    some[:] = np.random.default_rng(4).random(some.shape) >= missing
    grow = np.geomspace(1e-4, 1.0, problem.steps, dtype=np.float32)
    problem.rows *= grow[:, None, None]
    problem.heads *= grow[:, None]
    problem.poison_what_is_missing()
    return problem


def bits(states: States) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in states.items()}


@pytest.mark.parametrize("loss_scale", [1.0, 1000.0])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_clip_is_torchs(rule: Rule, loss_scale: float, device: str) -> None:
    problem = headed_problem()
    scaled = replace(
        problem,
        rows=problem.rows * np.float32(loss_scale),
        heads=problem.heads * np.float32(loss_scale),
    )
    got = run_gramstep(scaled, rule, device, clip_norm=CLIP, loss_scale=loss_scale)
    how = {"weights_of": constant_weights([1.0]), "clip_norm": CLIP, "loss_scale": loss_scale}
    gradients = [g.astype(np.float64) / loss_scale for g in single_gradients(scaled)]

    def clip(run: TorchRun) -> None:
        torch.nn.utils.clip_grad_norm_(run.params, CLIP)

    torchs = {"gradients": gradients, "before_step": clip, "foreach": False}
    exact_steps = run_torch(problem, rule, torch.float64, resume=got, **torchs)
    bounds = bounded_steps(problem, rule, got, combined_gradients(scaled, device, **how))
    assert_steps_right(problem, got, exact_steps, bounds)
    exact = run_torch(problem, rule, torch.float64, **torchs)
    assert_as_accurate(problem, got, run_torch(problem, rule, device=device, **torchs), exact)


def test_reported_norms(device: str) -> None:
    problem = headed_problem()
    run = GramstepRun(problem, SGD, device, clip_norm=CLIP)
    clipped = 0
    for step in range(problem.steps):
        run.step(step)
        report = run.optimizer.report()
        _, expected = combined_step(problem, step, device, constant_weights([1.0]))
        assert abs(report.numbers.norm - expected.value) <= expected.error
        shrunk = report.numbers.norm * min(1.0, CLIP / (report.numbers.norm + 1e-6))
        np.testing.assert_allclose(report.numbers.clipped_norm, shrunk, rtol=DOUBLE)
        clipped += expected.value > CLIP
    assert 10 < clipped < problem.steps - 10


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_power_of_two_scale_changes_no_bit(rule: Rule, device: str) -> None:
    problem = eventful_problem()
    plain = GramstepRun(problem, rule, device)
    scaled = GramstepRun(problem, rule, device, loss_scale=1024.0)
    for step in range(30):
        plain.step(step)
        scaled.step(step, gradient_scale=1024.0)
        assert bits(plain.states()) == bits(scaled.states()), f"step {step + 1}"


def kept_part(problem: Problem, kept: list[int]) -> Problem:
    """The problem without the steps that were skipped."""
    return replace(
        problem,
        rows=problem.rows[kept],
        heads=problem.heads[kept],
        active=problem.active[kept],
        lr=problem.lr[kept],
    )


def run_grad_scaler(problem: Problem, rule: Rule, device: str) -> tuple[Trajectory, list[float]]:
    """torch's run under its GradScaler, and the scale that each step's gradients came with."""
    run, scales, steps = TorchRun(problem, rule, torch.float32, device, foreach=False), [], []
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10, growth_interval=7)
    scaler.scale(torch.zeros((), device=device))  # which makes its tensors
    for step, gradient in enumerate(single_gradients(problem)):
        scales.append(scaler.get_scale())
        run.set_gradients(step, gradient * np.float32(scales[-1]))
        run.set_lr(step)
        scaler.step(run.optimizer)
        scaler.update()
        steps.append(run.states())
    return trajectory_of(steps), scales


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_skips_as_grad_scaler(rule: Rule, device: str) -> None:
    """Steps with an overflow are skipped: the very first, two in a row, and one in a head."""
    problem = headed_problem(missing=0)
    weight, head = (problem.layout.segment(name).start for name in ("weight", "head"))
    problem.rows[0, 0, weight] = np.inf
    problem.rows[8, 0, weight + 1336] = np.nan
    problem.rows[9, 0, weight] = -np.inf
    problem.heads[40, head - problem.shared_size + 128] = np.inf
    bad = [0, 8, 9, 40]
    torchs, scales = run_grad_scaler(problem, rule, device)
    assert len(set(scales)) > 3
    ours = run_skipping(problem, rule, device, scales, bad)

    kept = [step for step in range(problem.steps) if step not in bad]
    part = kept_part(problem, kept)
    got, theirs = ({name: run[name][kept] for name in run} for run in (ours, torchs))
    exact_steps = run_torch(part, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(part, got, exact_steps, bounded_steps(part, rule, got))
    exact = run_torch(part, rule, torch.float64, foreach=False)
    assert_as_accurate(part, got, theirs, exact)


def run_skipping(
    problem: Problem, rule: Rule, device: str, scales: list[float], bad: list[int]
) -> Trajectory:
    """gramstep's run with these loss scales, in which the bad steps must leave nothing behind."""
    run, steps = GramstepRun(problem, rule, device, non_finite=NonFinite.SKIP), []
    for step, scale in enumerate(scales):
        before = bits(run.states())
        run.optimizer.set_loss_scale(scale)
        run.step(step, gradient_scale=scale)
        report = run.optimizer.report().numbers
        assert report.skipped == (step in bad)
        assert (bits(run.states()) == before) == (step in bad)
        assert report.skipped_steps == sum(each <= step for each in bad)
        assert report.steps == step + 1 - report.skipped_steps
        steps.append(run.states())
    for tensor in problem.tensors:
        assert run.optimizer.segment_steps(tensor.name) == problem.steps - len(bad)
    return trajectory_of(steps)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("bad", [[np.inf], [np.nan], [np.inf, np.nan]], ids=str)
def test_propagates_as_torch(bad: list[float], rule: Rule, clip: bool, device: str) -> None:
    """With the policy to propagate, what is not finite goes where it goes in torch."""
    problem = make_problem(steps=4)
    for index, value in enumerate(bad):
        problem.rows[1, 0, problem.layout.segment("weight").start + index] = value
    options = {"clip_norm": CLIP} if clip else {}
    got = run_gramstep(problem, rule, device, non_finite=NonFinite.PROPAGATE, **options)

    def clip_norm(run: TorchRun) -> None:
        if clip:
            torch.nn.utils.clip_grad_norm_(run.params, CLIP)

    theirs = run_torch(problem, rule, device=device, before_step=clip_norm, foreach=False)
    real = problem.real()
    for name, values in theirs.items():
        for kind in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(kind(got[name][:, real]), kind(values[:, real]))
    assert not np.isfinite(theirs["param"][-1, real]).all()


def test_error_policy(device: str) -> None:
    """A step with the policy error is not taken, and says so: at once or, on CUDA, when asked."""
    problem = make_problem(steps=3)
    problem.rows[1, 0, 0] = np.nan
    run = GramstepRun(problem, SGD, device, non_finite=NonFinite.ERROR)
    run.step(0)
    before = bits(run.states())

    def bad_step() -> None:
        run.step(1)
        run.optimizer.report()

    with pytest.raises(GramstepError, match="not finite") as caught:
        bad_step()
    assert caught.value.status == Status.NON_FINITE_GRADIENT
    assert bits(run.states()) == before
    run.step(2)
    assert run.optimizer.report().numbers.steps == 2
