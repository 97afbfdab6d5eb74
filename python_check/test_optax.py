"""Lion, AdEMAMix and Schedule-Free beside optax, in float64 and in fp32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bounded import UNIT
from compare import FLOAT64_SHARE
from peers import assert_peers, optax, run_optax
from problems import STEPS, Problem, make_problem
from rules import Rule
from trajectories import Trajectory, run_gramstep


def by_optax(problem: Problem, rule: Rule, optimizer: Any) -> tuple[Trajectory, Trajectory]:
    """optax's run in float64 and in fp32."""
    named = NAMES[rule.name]
    return tuple(run_optax(problem, optimizer, named, dtype) for dtype in (np.float64, np.float32))


def lion_names(state: Any, params: Any) -> dict[str, Any]:
    return {"exp_avg": state[0].mu}


def ademamix_names(state: Any, params: Any) -> dict[str, Any]:
    own = state[0]
    return {"exp_avg_fast": own.m1, "exp_avg_slow": own.m2, "exp_avg_sq": own.nu}


def schedule_free_names(state: Any, params: Any) -> dict[str, Any]:
    return {"z": state.z}


def schedule_free_adam_names(state: Any, params: Any) -> dict[str, Any]:
    return {"z": state.z, "exp_avg_sq": state.base_optimizer_state[0].nu}


NAMES = {
    "Lion": lion_names,
    "AdEMAMix": ademamix_names,
    "ScheduleFreeSGD": schedule_free_names,
    "ScheduleFreeAdamW": schedule_free_adam_names,
}

LIONS = [
    Rule("Lion"),
    Rule("Lion", {"lr": 0.01, "weight_decay": 0.1}),
    Rule("Lion", {"lr": 0.01, "betas": (0.95, 0.98), "weight_decay": 1.0}),
    Rule("Lion", {"lr": 0.01, "betas": (0.0, 0.5)}),
]


@pytest.mark.parametrize("rule", LIONS, ids=str)
def test_lion(rule: Rule, device: str) -> None:
    """No drift is asked for: one sign that rounding turns is a whole step."""
    library, problem = optax(), make_problem()
    (b1, b2), decay = rule["betas"], rule["weight_decay"]
    optimizer = library.lion(rule["lr"], b1=b1, b2=b2, weight_decay=decay)
    exact, _ = by_optax(problem, rule, optimizer)
    assert_peers(problem, rule, device, exact)


@pytest.mark.parametrize("rule", [LIONS[0]], ids=str)
def test_lion_without_gradient_stays(rule: Rule, device: str) -> None:
    """Elements that never get a gradient do not move at all."""
    problem = make_problem()
    never = problem.real() & (problem.rows[:, 0] == 0).all(axis=0)
    assert never.sum() > 20
    got = run_gramstep(problem, rule, device)
    np.testing.assert_array_equal(
        got["param"][:, never], np.broadcast_to(problem.params[never], (100, never.sum()))
    )


ADEMAMIXES = [
    Rule("AdEMAMix"),
    Rule("AdEMAMix", {"lr": 0.01, "weight_decay": 0.1, "alpha": 8.0}),
    Rule("AdEMAMix", {"lr": 0.01, "betas": (0.0, 0.9, 0.99), "alpha": 2.0, "eps": 1e-3}),
    Rule("AdEMAMix", {"alpha": 0.0}),
    Rule("AdEMAMix", {"lr": 0.01, "alpha_warmup": 60, "beta3_warmup": 60}),
    Rule("AdEMAMix", {"lr": 0.01, "alpha_warmup": 1000, "beta3_warmup": 30}),
]


def rising(steps: int, end: float, value: Callable[[float], float]) -> Any:
    """A schedule of optax, which counts from 0: value(share) until `steps`, worked out in double
    beforehand, for optax's int32 count has float32 quotients."""
    if steps == 0:
        return end
    table = [value(t / steps) if t < steps else end for t in range(1, STEPS + 1)]
    return lambda count: jnp_array(table)[count]


def jnp_array(values: list[float]) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(values)


def rising_alpha(rule: Rule) -> Any:
    """The authors' linear_warmup_scheduler, of apple/ml-ademamix."""
    return rising(rule["alpha_warmup"], rule["alpha"], lambda share: share * rule["alpha"])


def rising_beta3(rule: Rule) -> Any:
    """The authors' linear_hl_warmup_scheduler: the half-life rises by equal steps."""
    start, _, end = rule["betas"]

    def half_life(beta: float) -> float:
        return math.log(0.5) / math.log(beta + 1e-8) - 1

    def at(share: float) -> float:
        life = (1 - share) * half_life(start) + share * half_life(end)
        return math.pow(0.5, 1 / (life + 1))

    return rising(rule["beta3_warmup"], end, at)


@pytest.mark.parametrize("rule", ADEMAMIXES, ids=str)
def test_ademamix(rule: Rule, device: str) -> None:
    library, problem = optax(), make_problem()
    b1, b2, _ = rule["betas"]
    optimizer = library.contrib.ademamix(
        rule["lr"],
        b1=b1,
        b2=b2,
        b3=rising_beta3(rule),
        alpha=rising_alpha(rule),
        eps=rule["eps"],
        weight_decay=rule["weight_decay"],
    )
    # A rounding of beta3 in double is one by |log beta3| of its half-life: three of them.
    rounded = 3 * np.finfo(np.float64).eps / abs(np.log(rule["betas"][2])) / UNIT
    share = rounded if rule["beta3_warmup"] else FLOAT64_SHARE
    assert_peers(problem, rule, device, *by_optax(problem, rule, optimizer), share=share)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("ScheduleFreeSGD", {"lr": 0.1}),
        Rule("ScheduleFreeSGD", {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.5}),
        Rule("ScheduleFreeSGD", {"lr": 0.1, "weight_lr_power": 0.0}),
    ],
    ids=str,
)
def test_schedule_free_sgd(rule: Rule, device: str) -> None:
    library, problem = optax(), make_problem()
    optimizer = library.contrib.schedule_free_sgd(
        rule["lr"],
        b1=rule["momentum"],
        weight_decay=rule["weight_decay"],
        weight_lr_power=rule["weight_lr_power"],
    )
    assert_peers(problem, rule, device, *by_optax(problem, rule, optimizer))


@pytest.mark.parametrize(
    "rule",
    [
        Rule("ScheduleFreeAdamW"),
        Rule("ScheduleFreeAdamW", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.5, 0.9)}),
    ],
    ids=str,
)
def test_schedule_free_adamw(rule: Rule, device: str) -> None:
    library, problem = optax(), make_problem()
    b1, b2 = rule["betas"]
    optimizer = library.contrib.schedule_free_adamw(
        rule["lr"], b1=b1, b2=b2, eps=rule["eps"], weight_decay=rule["weight_decay"]
    )
    assert_peers(problem, rule, device, *by_optax(problem, rule, optimizer))
