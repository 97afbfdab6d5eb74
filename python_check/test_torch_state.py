"""State by torch.optim's names: out of its state_dict into gramstep, and back, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from compare import assert_as_accurate, assert_near, assert_steps_right
from gramstep_c import names_of
from problems import Problem, eventful_problem, make_problem
from rule_grids import MUON, ONE_OF_EACH
from rules import NOT_IN_TORCH, Rule
from trajectories import (
    GramstepRun,
    TorchRun,
    Trajectory,
    bounded_steps,
    default_dtype,
    part,
    run_torch,
    single_gradients,
    to_host,
    trajectory_of,
)

STEPS, HALF = 60, 45  # "late" has had gradients by then
BIG = 2**24  # where a float32 counter stops
# What is not laid out as the parameters: one number a tensor.
SCALARS = {"step", "mu_product"}
ALL_RULES = [*ONE_OF_EACH, *[Rule(name) for name in NOT_IN_TORCH], Rule("SGD"), MUON]


def short_problem() -> Problem:
    """The eventful problem's first steps."""
    whole = eventful_problem()
    parts = {name: getattr(whole, name)[:STEPS] for name in ("rows", "heads", "active", "lr")}
    return replace(whole, **parts)


def torch_run(problem: Problem, rule: Rule, device: str) -> TorchRun:
    """torch.optim in fp32, its scalars in double, as torch keeps them where that is the default."""
    with default_dtype(torch.float64):
        return TorchRun(problem, rule, torch.float32, device, foreach=False)


def take(run: GramstepRun | TorchRun, steps: range) -> list[dict[str, np.ndarray]]:
    """What is held after each of these steps."""
    gradients, held = list(single_gradients(run.problem)), []
    with default_dtype(torch.float64):
        for step in steps:
            if isinstance(run, TorchRun):
                run.set_gradients(step, gradients[step])
                run.set_lr(step)
                run.optimizer.step()
            else:
                run.step(step)
            held.append(run.states())
    return held


def read_torch(theirs: TorchRun, run: GramstepRun, steps: int) -> None:
    """Goes on with what torch's state_dict holds, after `steps` steps."""
    problem, held = theirs.problem, theirs.optimizer.state_dict()["state"]
    counts, products = [], []
    for index in range(len(problem.tensors)):
        own = held.get(index, {})
        # SGD keeps no count: that there is a buffer says that it is not the first step.
        used = 1 if own.get("momentum_buffer") is not None else 0
        counts.append(int(own.get("step", torch.tensor(used)).item()))
        products.append(float(own.get("mu_product", torch.tensor(1.0))))
    run.optimizer.set_steps(steps, counts)
    for name, values in theirs.states().items():
        run.set_state(name, values)
    for name in run.optimizer.segment_state_names():
        run.optimizer.set_segment_state(name, products)


def write_torch(run: GramstepRun, theirs: TorchRun) -> None:
    """Lets torch go on with what gramstep holds, by load_state_dict."""
    problem, states = run.problem, run.states()
    saved = theirs.optimizer.state_dict()
    count = len(problem.tensors)
    kept = {n: run.optimizer.segment_state(n, count) for n in run.optimizer.segment_state_names()}
    for index, tensor in enumerate(problem.tensors):
        if (steps := run.optimizer.segment_steps(tensor.name)) == 0:
            continue
        own = {"step": torch.tensor(float(steps), dtype=torch.float64)}
        for name, shape in theirs.rule.state_shapes(tensor.shape).items():
            flat = torch.tensor(states[name][problem.places[index]])
            own[name] = part(flat.view(tensor.shape), shape)
        own |= {name: torch.tensor(values[index]) for name, values in kept.items()}
        saved["state"][index] = own
    theirs.optimizer.load_state_dict(saved)
    for name, values in kept.items():  # as they are: load_state_dict makes float32 of them
        for parameter, value in zip(theirs.params, values, strict=True):
            if parameter in theirs.optimizer.state:
                theirs.optimizer.state[parameter][name] = torch.tensor(value, dtype=torch.float64)
    theirs.set_states({"param": states["param"]})


def assert_same_bits(problem: Problem, got: dict[str, Any], expected: dict[str, Any]) -> None:
    real = problem.real()
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        same = got[name][..., real].view(np.uint32) == values[..., real].view(np.uint32)
        assert same.all(), name


@pytest.mark.parametrize("rule", [*ONE_OF_EACH, Rule("Adam"), Rule("RMSprop")], ids=str)
def test_names_are_torchs(rule: Rule, device: str) -> None:
    problem = make_problem(steps=2)
    run, theirs = GramstepRun(problem, rule, device), torch_run(problem, rule, device)
    take(theirs, range(2))
    own = set().union(*theirs.optimizer.state_dict()["state"].values())
    assert set(run.optimizer.state_names()) == own - SCALARS
    assert set(run.optimizer.segment_state_names()) == own & {"mu_product"}
    assert run.optimizer.state_names() == rule.state_names()


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=lambda rule: rule.name)
def test_torchs_run_goes_on_here(rule: Rule, device: str) -> None:
    """What torch held is read back bit for bit, and every step from there is right."""
    problem = short_problem()
    theirs, run = torch_run(problem, rule, device), GramstepRun(problem, rule, device)
    before = take(theirs, range(HALF))
    read_torch(theirs, run, HALF)
    assert_same_bits(problem, run.states(), theirs.states())
    got = trajectory_of([*before, *take(run, range(HALF, STEPS))])
    exact = run_torch(problem, rule, torch.float64, resume=got, foreach=False)
    bounds = bounded_steps(problem, rule, got)
    errors = {name: bound.error[HALF:] for name, bound in bounds.items()}
    assert_near(problem, second_half(got), second_half(exact), errors)


def second_half(trajectory: Trajectory) -> Trajectory:
    return {name: values[HALF:] for name, values in trajectory.items()}


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=lambda rule: rule.name)
def test_our_run_goes_on_in_torch(rule: Rule, device: str) -> None:
    """torch holds what gramstep held, bit for bit, and both runs end at the same place."""
    problem = short_problem()
    run, theirs = GramstepRun(problem, rule, device), torch_run(problem, rule, device)
    before = take(run, range(HALF))
    write_torch(run, theirs)
    assert_same_bits(problem, theirs.states(), run.states())
    got = trajectory_of([*before, *take(theirs, range(HALF, STEPS))])
    exact = run_torch(problem, rule, torch.float64, foreach=False)
    theirs_alone = run_torch(problem, rule, device=device, foreach=False)
    assert_as_accurate(problem, got, theirs_alone, exact)


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=lambda rule: rule.name)
def test_through_torch_and_back(rule: Rule, device: str) -> None:
    """gramstep to torch to another gramstep: the bits of a run that was not interrupted."""
    problem = short_problem()
    whole, between = GramstepRun(problem, rule, device), torch_run(problem, rule, device)
    take(whole, range(HALF))
    write_torch(whole, between)
    resumed = GramstepRun(problem, rule, device)
    read_torch(between, resumed, HALF)
    rest = range(HALF, STEPS)
    assert_same_bits(problem, trajectory_of(take(resumed, rest)), trajectory_of(take(whole, rest)))


@pytest.mark.parametrize("rule", ALL_RULES, ids=str)
def test_saved_by_name(rule: Rule, device: str) -> None:
    """Parameters, steps, state and scalars of segments are all that a run of any rule has."""
    problem = short_problem()
    whole, resumed = (GramstepRun(problem, rule, device) for _ in range(2))
    take(whole, range(HALF))
    count = len(problem.tensors)
    steps = [whole.optimizer.segment_steps(tensor.name) for tensor in problem.tensors]
    resumed.optimizer.set_steps(HALF, steps)
    for name in whole.optimizer.segment_state_names():
        resumed.optimizer.set_segment_state(name, whole.optimizer.segment_state(name, count))
    for name, values in whole.states().items():
        resumed.set_state(name, values)
    rest = range(HALF, STEPS)
    assert_same_bits(problem, trajectory_of(take(resumed, rest)), trajectory_of(take(whole, rest)))


def test_all_rules_are_here() -> None:
    assert {rule.name for rule in ALL_RULES} == set(names_of("rule"))


def test_nadams_product(device: str) -> None:
    """In double what torch keeps in float32."""
    problem, rule = short_problem(), ONE_OF_EACH[3]
    run = GramstepRun(problem, rule, device)
    take(run, range(STEPS))
    got = run.optimizer.segment_state("mu_product", len(problem.tensors))
    exact, single = torch_run(problem, rule, "cpu"), TorchRun(problem, rule, torch.float32)
    take(exact, range(STEPS))
    for step, gradient in enumerate(single_gradients(problem)):
        single.set_gradients(step, gradient)
        single.optimizer.step()
    for index, parameter in enumerate(exact.params):
        if not problem.active[:, index].any():
            continue
        own, theirs = (
            r.optimizer.state[p]["mu_product"]
            for r, p in ((exact, parameter), (single, single.params[index]))
        )
        assert (own.dtype, theirs.dtype) == (torch.float64, torch.float32)
        # As many powers, of as many roundings each.
        np.testing.assert_allclose(got[index], own.item(), rtol=STEPS**2 * 2.0**-53)
        np.testing.assert_allclose(got[index], theirs.item(), rtol=STEPS * 2.0**-24)


BIG_RULES = [
    Rule("Adam", {"lr": 0.01, "betas": (0.9, 1 - 2.0**-22)}),
    Rule("RAdam", {"lr": 0.01, "betas": (0.9, 1 - 2.0**-22)}),
    Rule("Adamax", {"lr": 0.01, "betas": (0.9, 0.999)}),
    Rule("Adagrad", {"lr": 0.01, "lr_decay": 1e-6}),
]


def big_start(problem: Problem, rule: Rule) -> dict[str, np.ndarray]:
    """State after many steps: everything is about as large as a gradient or its square."""
    size = np.abs(problem.rows[-1, 0])
    square = {"exp_avg_sq", "sum"}
    held = {n: size**2 if n in square else size for n in rule.state_names()}
    return {n: np.where(problem.real(), v, 0).astype(np.float32) for n, v in held.items()}


def at_big_step(run: TorchRun, start: dict[str, np.ndarray], dtype: torch.dtype) -> None:
    """Gives torch's optimizer that state, and its count in `dtype`."""
    for parameter, place in zip(run.params, run.problem.places, strict=True):
        own = {n: torch.tensor(v[place]).view(parameter.shape) for n, v in start.items()}
        own = {n: v.to(parameter.dtype) for n, v in own.items()}
        run.optimizer.state[parameter] = {**own, "step": torch.tensor(float(BIG), dtype=dtype)}


@pytest.mark.parametrize("rule", BIG_RULES, ids=lambda rule: rule.name)
def test_steps_beyond_float32(rule: Rule, device: str) -> None:
    """Beyond 2^24 steps the count goes on. torch's float32 count stays there, one in float64 does
    not: its steps are what ours are held against."""
    problem = make_problem(steps=5)
    run, start = GramstepRun(problem, rule, device), big_start(problem, rule)
    run.optimizer.set_steps(BIG, [BIG] * len(problem.tensors))
    for name, values in start.items():
        run.set_state(name, values)
    exact, stuck = (TorchRun(problem, rule, torch.float64, foreach=False) for _ in range(2))
    at_big_step(exact, start, torch.float64)
    at_big_step(stuck, start, torch.float32)
    before, got, expected = {"param": problem.params, **start}, [], []
    for step in range(problem.steps):
        exact.set_states(before)
        expected += take(exact, range(step, step + 1))
        take(stuck, range(step, step + 1))
        got += take(run, range(step, step + 1))
        before = got[-1]
    counts = [r.optimizer.state[r.params[1]]["step"].item() for r in (exact, stuck)]
    assert counts == [BIG + problem.steps, BIG]
    assert [run.optimizer.segment_steps(t.name) for t in problem.tensors] == [BIG + 5] * 6
    ours, theirs = trajectory_of(got), trajectory_of(expected)
    bounds = bounded_steps(problem, rule, ours, steps_before=BIG, start=start)
    assert_steps_right(problem, ours, theirs, bounds)


def test_centered_rmsprop_of_a_steady_gradient(device: str) -> None:
    """What is left of s - a^2 is rounding: torch takes its root where it is negative. gramstep,
    which has max(s - a^2, 0), stays finite."""
    problem = make_problem(steps=300)
    problem.rows[:] = problem.rows[:1]
    rule = Rule("RMSprop", {"centered": True, "alpha": 0.5})
    run = GramstepRun(problem, rule, device)
    for step in range(problem.steps):
        run.step(step)
    real = problem.real()
    assert np.isfinite(run.state("param")[real]).all()
    theirs = TorchRun(problem, rule, torch.float32, foreach=False)
    for step, gradient in enumerate(single_gradients(problem)):
        theirs.set_gradients(step, gradient)
        theirs.optimizer.step()
    assert np.isnan(to_host(theirs.flat)[real]).any()
