"""Optimizers of other frameworks as runs: what they hold after each step, by gramstep's names."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compare import FLOAT64_SHARE, assert_as_accurate, assert_near, assert_padding_untouched
from problems import Problem
from rules import Rule
from trajectories import States, Trajectory, bounded_steps, run_gramstep, single_gradients
from trajectories import trajectory_of as recorded

# Parameters and state of the peer, from a peer's state and parameters.
Named = Callable[[Any, Any], dict[str, Any]]


def keras() -> Any:
    """Keras on torch; skips where it is not installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def optax() -> Any:
    """optax with float64 allowed; skips where it is not installed."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    return pytest.importorskip("optax")


def run_optax(problem: Problem, optimizer: Any, named: Named, dtype: Any) -> Trajectory:
    """The run of an optax optimizer over a list of tensors. named: such lists of parameters and
    state, by gramstep's names."""
    import jax
    import optax as library

    @jax.jit
    def step(params: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradient, state, params)
        return library.apply_updates(params, updates), state

    def tensors(flat: np.ndarray) -> list[Any]:
        return [jax.numpy.asarray(flat[place], dtype) for place in problem.places]

    params = tensors(problem.params)
    state, steps = optimizer.init(params), []
    for gradient in single_gradients(problem):
        params, state = step(params, state, tensors(gradient))
        held = {"param": params, **named(state, params)}
        steps.append(spread(problem, {name: np.concatenate(each) for name, each in held.items()}))
    return recorded(steps)


def run_keras(problem: Problem, make: Callable[[], Any], dtype: str) -> Trajectory:
    """The run of a Keras optimizer of the Adam kind."""
    library, real = keras(), problem.real()
    before = library.config.floatx()
    library.config.set_floatx(dtype)
    try:
        variable = library.Variable(problem.params[real].astype(dtype), dtype=dtype)
        optimizer, steps = make(), []
        optimizer.build([variable])
        for gradient in single_gradients(problem):
            given = library.ops.convert_to_tensor(gradient[real].astype(dtype), dtype=dtype)
            optimizer.apply([given])
            held = {"param": variable, **keras_moments(optimizer)}
            arrays = {k: library.ops.convert_to_numpy(v) for k, v in held.items()}
            steps.append(spread(problem, arrays))
    finally:
        library.config.set_floatx(before)
    return recorded(steps)


def keras_moments(optimizer: Any) -> dict[str, Any]:
    """Its moments by torch's names."""
    found = {
        "exp_avg": optimizer._momentums[0],
        "exp_avg_sq": optimizer._velocities[0],
    }
    if getattr(optimizer, "amsgrad", False):
        found["max_exp_avg_sq"] = optimizer._velocity_hats[0]
    return found


def spread(problem: Problem, held: dict[str, Any]) -> States:
    """Flat buffers with zeros in the padding, of real elements alone."""
    buffers = {}
    for name, values in held.items():
        found = np.asarray(values)
        buffers[name] = np.zeros(problem.size, found.dtype)
        buffers[name][problem.real()] = found
    return buffers


def assert_peers(
    problem: Problem,
    rule: Rule,
    device: str,
    exact: Trajectory,
    fp32: Trajectory | None = None,
    share: float = FLOAT64_SHARE,
) -> None:
    """Every step is right by the formula, and the formula is the peer's in float64, step by step;
    many steps drift no more than the peer's in fp32. share: what float64 rounds, of fp32's."""
    theirs = bounded_steps(problem, rule, exact)
    same = {name: share * bound.error for name, bound in theirs.items()}
    assert_near(problem, exact, {name: bound.value for name, bound in theirs.items()}, same)

    got = assert_formula(problem, rule, device)
    if fp32 is not None:
        assert_as_accurate(problem, got, fp32, exact)


def assert_formula(problem: Problem, rule: Rule, device: str) -> Trajectory:
    """Every step of gramstep's run, which is returned, is right by the formula."""
    got = run_gramstep(problem, rule, device)
    assert_padding_untouched(problem, rule, got)
    ours = bounded_steps(problem, rule, got)
    values = {name: bound.value for name, bound in ours.items()}
    assert_near(problem, got, values, {name: bound.error for name, bound in ours.items()})
    return got
