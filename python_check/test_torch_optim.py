"""A hundred steps of every rule beside torch.optim: see compare.py for what is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from beside_torch import assert_torchs
from compare import assert_steps_right
from problems import eventful_problem, make_problem, steady_problem
from rule_grids import COMBINED, MUON, ONE_OF_EACH, TORCHS_GRID, UNUSUAL, of_grid, sgd_rules
from rules import Rule
from trajectories import GramstepRun, bounded_steps, run_gramstep, run_torch

PROBLEMS = {"steady": steady_problem, "eventful": eventful_problem}


def has_fused(rule: Rule, device: str) -> bool:
    """Whether torch has a fused kernel; its Adagrad's is for the CPU, and for a plain lr."""
    if rule.name == "Adagrad":
        return device == "cpu" and not isinstance(rule["lr"], torch.Tensor)
    return rule.name in ("SGD", "Adam", "AdamW")


def ways(rule: Rule, device: str) -> list[dict[str, bool]]:
    """The ways in which torch runs the rule."""
    hows = [{"foreach": False}]
    if has_fused(rule, device):
        hows.append({"fused": True})
    elif not isinstance(rule["lr"], torch.Tensor):
        hows.append({"foreach": True})
    return hows


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("rule", [*COMBINED, *of_grid(UNUSUAL)], ids=str)
def test_steps_are_torchs(rule: Rule, kind: str, device: str) -> None:
    assert_torchs(PROBLEMS[kind](), rule, device, ways(rule, device))


@pytest.mark.parametrize("rule", of_grid(TORCHS_GRID), ids=str)
def test_steps_of_torchs_grid(rule: Rule, device: str) -> None:
    """The options of torch's own tests."""
    tensor_lr = isinstance(rule["lr"], torch.Tensor)  # of which a tenth is no number of fp32
    problem = steady_problem() if tensor_lr else eventful_problem()
    assert_torchs(problem, rule, device, ways(rule, device))


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


@pytest.mark.parametrize("name", TORCHS_GRID)
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


@pytest.mark.parametrize("rule", [*ONE_OF_EACH, MUON, sgd_rules()[-1]], ids=str)
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


@pytest.mark.parametrize(
    "rule", [ONE_OF_EACH[1], ONE_OF_EACH[-1], MUON], ids=lambda rule: rule.name
)
def test_unaligned_memory(rule: Rule, device: str) -> None:
    """Memory that is aligned to 4 bytes but not to 16 gives the same bits."""
    problem = eventful_problem()
    aligned, shifted = (GramstepRun(problem, rule, device, shift=shift) for shift in (0, 1))
    assert (aligned.params.data_ptr() % 16, shifted.params.data_ptr() % 16) == (0, 4)
    for step in range(20):
        aligned.step(step)
        shifted.step(step)
    for name, values in aligned.states().items():
        np.testing.assert_array_equal(shifted.state(name).view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=str)
def test_subnormal_gradients(rule: Rule, device: str) -> None:
    """Subnormal numbers are flushed to zero, as torch does not: no more than 2^-126 apart."""
    problem = make_problem(steps=5)
    problem.rows *= np.float32(1e-38)
    rule = rule.changed(weight_decay=0.0)
    got = run_gramstep(problem, rule, device)
    exact = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
    assert_steps_right(problem, got, exact, bounded_steps(problem, rule, got))
    for name, values in got.items():
        smallest = np.abs(values[-1, problem.real()])
        assert not ((smallest > 0) & (smallest < 2.0**-126)).any(), f"{name} has subnormal numbers"
