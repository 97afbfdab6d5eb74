"""A hundred steps of SGD, Adam and AdamW beside torch.optim: see compare.py for what is asked."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from compare import assert_as_accurate, assert_padding_untouched, assert_steps_right
from problems import eventful_problem, make_problem, steady_problem
from rules import Rule
from trajectories import GramstepRun, bounded_steps, run_gramstep, run_torch

PROBLEMS = {"steady": steady_problem, "eventful": eventful_problem}


def sgd_rules() -> list[Rule]:
    """SGD: every way to use momentum, with and without weight decay, down and up."""
    momenta = [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "dampening": 1.0},
        {"momentum": 0.9, "nesterov": True},
    ]
    return [
        Rule("SGD", {"lr": 0.05, **momentum, "weight_decay": weight_decay, "maximize": maximize})
        for momentum, weight_decay, maximize in product(momenta, [0.0, 0.1], [False, True])
    ]


def adam_rules(name: str) -> list[Rule]:
    """Adam or AdamW: with and without AMSGrad and weight decay, down and up; unusual moments."""
    switches = [
        {"amsgrad": amsgrad, "weight_decay": weight_decay, "maximize": maximize}
        for amsgrad, weight_decay, maximize in product([False, True], [0.0, 0.1], [False, True])
    ]
    moments = [
        {"betas": betas, "eps": 1e-3, "amsgrad": amsgrad, "weight_decay": 0.1}
        for betas, amsgrad in product([(0.999, 0.4), (0.0, 0.9)], [False, True])
    ]
    return [Rule(name, {"lr": 0.01, **options}) for options in switches + moments]


RULES = [*sgd_rules(), *adam_rules("Adam"), *adam_rules("AdamW")]


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_steps_are_torchs(rule: Rule, kind: str, device: str) -> None:
    problem = PROBLEMS[kind]()
    got = run_gramstep(problem, rule, device)
    assert_padding_untouched(problem, rule, got)
    exact_steps = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(problem, got, exact_steps, bounded_steps(problem, rule, got))
    exact = run_torch(problem, rule, torch.float64, foreach=False)
    for how in ({"foreach": False}, {"fused": True}):
        assert_as_accurate(problem, got, run_torch(problem, rule, device=device, **how), exact)


def test_problems_are_eventful() -> None:
    """What the checks above are meant to meet is there."""
    problem = eventful_problem()
    assert {0.0, 1e-28, 1.0} <= set(problem.lr)
    active = dict(zip([t.name for t in problem.tensors], problem.active.T, strict=True))
    assert not active["never"].any()
    assert active["late"].argmax() == 40
    assert 20 < active["scalar"].sum() < 80
    assert {0, 1, 127, 128, 129} <= {int(np.prod(t.shape)) for t in problem.tensors}
    assert np.isnan(problem.rows).any()
    assert (problem.params == 0).any()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults_are_torchs(name: str, device: str) -> None:
    """An option that is left out means what it means in torch.optim."""
    problem = make_problem(steps=3)
    left_out = run_gramstep(problem, Rule(name), device)
    spelled = Rule(name, {key: Rule(name)[key] for key in ("lr", "weight_decay")})
    torchs = run_gramstep(problem, spelled, device)
    np.testing.assert_array_equal(left_out["param"], torchs["param"])
    exact = run_torch(problem, Rule(name), torch.float64, resume=left_out, foreach=False)
    assert_steps_right(problem, left_out, exact, bounded_steps(problem, Rule(name), left_out))


def test_step_counts(device: str) -> None:
    """Each tensor counts the steps in which it had a gradient, as torch's state does."""
    problem, rule = eventful_problem(), Rule("Adam", {"lr": 0.01})
    run = GramstepRun(problem, rule, device)
    for step in range(problem.steps):
        run.step(step)
    steps = [run.optimizer.segment_steps(tensor.name) for tensor in problem.tensors]
    np.testing.assert_array_equal(steps, problem.active.sum(axis=0))
    assert run.optimizer.report().numbers.steps == problem.steps


def test_lr_of_report(device: str) -> None:
    problem, rule = eventful_problem(), Rule("SGD", {"lr": 0.05})
    run = GramstepRun(problem, rule, device)
    for step in (29, 30, 55, 65):
        run.step(step)
        assert run.optimizer.report().numbers.lr == problem.lr[step] * 0.05


@pytest.mark.parametrize("rule", [RULES[-1], sgd_rules()[-1]], ids=str)
def test_copied_state_continues(rule: Rule, device: str) -> None:
    """State and step counts, moved to another optimizer halfway, go on with the same bits."""
    problem = eventful_problem()
    whole, half = GramstepRun(problem, rule, device), problem.steps // 2
    for step in range(half):
        whole.step(step)
    resumed = GramstepRun(problem, rule, device)
    resumed.optimizer.copy_state(whole.optimizer)
    resumed.params.copy_(whole.params)
    for step in range(half, problem.steps):
        whole.step(step)
        resumed.step(step)
    for name, values in whole.states().items():
        np.testing.assert_array_equal(resumed.state(name).view(np.uint32), values.view(np.uint32))


def test_unaligned_memory(device: str) -> None:
    """Memory that is aligned to 4 bytes but not to 16 gives the same bits."""
    problem = eventful_problem()
    aligned, shifted = (GramstepRun(problem, RULES[-1], device, shift=shift) for shift in (0, 1))
    assert (aligned.params.data_ptr() % 16, shifted.params.data_ptr() % 16) == (0, 4)
    for step in range(20):
        aligned.step(step)
        shifted.step(step)
    for name, values in aligned.states().items():
        np.testing.assert_array_equal(shifted.state(name).view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_subnormal_gradients(name: str, device: str) -> None:
    """Subnormal numbers are flushed to zero, as torch does not: no more than 2^-126 apart."""
    problem = make_problem(steps=5)
    problem.rows *= np.float32(1e-38)
    rule = Rule(name, {"lr": 0.01, **({"momentum": 0.9} if name == "SGD" else {})})
    got = run_gramstep(problem, rule, device)
    exact = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(problem, got, exact, bounded_steps(problem, rule, got))
    for name, values in got.items():
        smallest = np.abs(values[-1, problem.real()])
        assert not ((smallest > 0) & (smallest < 2.0**-126)).any(), f"{name} has subnormal numbers"
