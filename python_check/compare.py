"""How trajectories are compared, and why the tolerances are what they are.

Two questions. Is every single step right? From what gramstep held before it, torch.optim takes the
step in float64, and every value must be as near as the roundings of one step in fp32 allow: a few
ULPs, derived for every value by bounded.py. And do many steps drift? From the same start, the
distance of gramstep from torch.optim in float64 is held against that of torch.optim in fp32.
"""

from __future__ import annotations

import numpy as np

from bounded import FEW_ULPS, ROUNDINGS_BESIDE_TORCH, UNIT, Bounded
from problems import Problem
from rules import Rule
from trajectories import Trajectory, at_first

# What float64 rounds is 2^-29 of what fp32 rounds; with room for another order of operations.
FLOAT64_SHARE = 2.0**-20

# Relative error of a handful of operations in double.
DOUBLE = 16 * np.finfo(np.float64).eps


def assert_near(
    problem: Problem, got: Trajectory, expected: Trajectory, allowed: Trajectory
) -> None:
    """|got - expected| <= allowed at every step, in every tensor; else names the first failure."""
    assert set(got) == set(expected)
    real = problem.real()
    for name, values in got.items():
        error = np.abs(values.astype(np.float64) - expected[name])
        wrong = real & ~(error <= allowed[name])
        if not wrong.any():
            continue
        step, element = np.argwhere(wrong)[0]
        raise AssertionError(
            f"{name} of step {step + 1} at {name_of(problem, element)}: "
            f"got {values[step, element]!r}, expected {expected[name][step, element]!r} "
            f"within {allowed[name][step, element]:.3e}; {wrong.sum()} values in all"
        )


def assert_within(got: np.ndarray, expected: np.ndarray, error: np.ndarray) -> None:
    """|got - expected| <= error, of arrays small enough to be printed."""
    np.testing.assert_array_equal(np.abs(got - expected) <= error, True, f"{got} for {expected}")


def name_of(problem: Problem, element: int) -> str:
    """An element of the flat buffer by tensor and index."""
    for tensor, place in zip(problem.tensors, problem.places, strict=True):
        if place.start <= element < place.stop:
            return f"{tensor.name!r}[{element - place.start}]"
    return f"padding {element}"


def assert_steps_right(
    problem: Problem, got: Trajectory, exact: Trajectory, bounds: dict[str, Bounded]
) -> None:
    """Each of gramstep's steps is torch's float64 step from the same start, within the bounds."""
    same = {name: FLOAT64_SHARE * bound.error for name, bound in bounds.items()}
    assert_near(problem, exact, {name: bound.value for name, bound in bounds.items()}, same)
    assert_near(problem, got, exact, {name: bound.error for name, bound in bounds.items()})


def assert_as_accurate(
    problem: Problem, got: Trajectory, torch_fp32: Trajectory, exact: Trajectory
) -> None:
    """After many steps the error is at most torch's own in fp32, but for twice the roundings."""
    real = problem.real()
    allowed = {}
    for name, truth in exact.items():
        their_error = np.abs(torch_fp32[name].astype(np.float64) - truth)[:, real].max()
        ulp = 2 * UNIT * np.abs(truth[:, real]).max()
        limit = ROUNDINGS_BESIDE_TORCH * their_error + FEW_ULPS * ulp
        allowed[name] = np.full(truth.shape, limit)
    assert_near(problem, got, exact, allowed)


def assert_padding_untouched(problem: Problem, rule: Rule, got: Trajectory) -> None:
    """Padding of the parameters and of the state keeps the bits it came with."""
    padding = ~problem.real()
    for name, values in got.items():
        before = at_first(problem, rule, name)[padding]
        same = values[:, padding].view(np.uint32) == before.view(np.uint32)
        assert same.all(), f"{name}: padding was written"
