"""LAMB and LARS, whose tensors move by a share of their own length, beside optax and the papers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from peers import assert_formula, assert_peers, optax, run_optax
from problems import Problem, eventful_problem, make_problem
from rules import Rule
from trajectories import Trajectory, at_first, single_gradients, trajectory_of

LAMBS = [
    Rule("LAMB"),
    Rule("LAMB", {"lr": 0.01, "weight_decay": 0.1}),
    Rule("LAMB", {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3}),
    Rule("LAMB", {"lr": 0.01, "betas": (0.0, 0.9), "eps": 1e-3, "weight_decay": 1.0}),
    Rule("LAMB", {"lr": 0.01, "betas": (0.9, 0.4), "eps": 0.1}),
    Rule("LAMB", {"lr": 0.01, "always_adapt": False}),
    Rule("LAMB", {"lr": 0.01, "weight_decay": 0.1, "always_adapt": False}),
]

# A learning rate by which fp32 divides exactly: optax has it in the momentum.
LARSES = [
    Rule("LARS", {"lr": 0.25, "nesterov": nesterov, **options})
    for nesterov, options in product(
        [False, True],
        [
            {},
            {"trust_coefficient": 0.1, "momentum": 0.5},
            {"trust_coefficient": 0.1, "eps": 0.5},
            {"momentum": 0.0, "trust_coefficient": 0.1, "eps": 0.0},
            {"always_adapt": False},
        ],
    )
]

DECAYED_LARSES = [
    Rule("LARS", {"lr": 0.25, "weight_decay": 0.1, **options})
    for options in (
        {},
        {"trust_coefficient": 0.1, "weight_decay": 1.0, "nesterov": True},
        {"momentum": 0.0, "trust_coefficient": 0.1, "eps": 0.5},
        {"always_adapt": False, "momentum": 0.5},
    )
]


def optax_lamb(rule: Rule) -> Any:
    """optax.lamb; without its ratio, where the rule has none."""
    library, (b1, b2) = optax(), rule["betas"]
    if rule["always_adapt"] or rule["weight_decay"]:
        decay = rule["weight_decay"]
        return library.lamb(rule["lr"], b1=b1, b2=b2, eps=rule["eps"], weight_decay=decay)
    return library.adam(rule["lr"], b1=b1, b2=b2, eps=rule["eps"])


def optax_lars(rule: Rule) -> Any:
    """optax.lars, whose ratio is of |g + decay p|: ours where there is no decay."""
    return optax().lars(
        rule["lr"],
        trust_coefficient=rule["trust_coefficient"],
        eps=rule["eps"],
        trust_ratio_mask=rule["always_adapt"],
        momentum=rule["momentum"],
        nesterov=rule["nesterov"],
    )


def moments(state: Any, params: Any) -> dict[str, Any]:
    return {"exp_avg": state[0].mu, "exp_avg_sq": state[0].nu}


def by_optax(problem: Problem, rule: Rule) -> list[Trajectory]:
    """optax's run in float64 and in fp32."""

    def buffer(state: Any, params: Any) -> dict[str, Any]:
        return {"momentum_buffer": [trace / -rule["lr"] for trace in state[-1].trace]}

    optimizer = optax_lamb(rule) if rule.name == "LAMB" else optax_lars(rule)
    named = moments if rule.name == "LAMB" else buffer
    return [run_optax(problem, optimizer, named, dtype) for dtype in (np.float64, np.float32)]


def by_paper(problem: Problem, rule: Rule, dtype: Any) -> Trajectory:
    """LARS as algorithm 1 of You, Gitman and Ginsburg 2017 has it, tensor by tensor, the buffer
    divided by the learning rate afterwards; Nesterov's step as torch.optim.SGD takes it."""
    lr, decay, momentum = rule["lr"], rule["weight_decay"], rule["momentum"]
    w = [problem.params[place].astype(dtype) for place in problem.places]
    v, steps = [np.zeros_like(each) for each in w], []
    for gradient in single_gradients(problem):
        for i, place in enumerate(problem.places):
            g = gradient[place].astype(dtype)
            w_norm, g_norm = np.linalg.norm(w[i]), np.linalg.norm(g)
            local = dtype(1.0)
            if w_norm > 0 and g_norm > 0:
                local = rule["trust_coefficient"] * w_norm / (g_norm + decay * w_norm + rule["eps"])
            moved = dtype(lr) * local * (g + dtype(decay) * w[i])
            v[i] = dtype(momentum) * v[i] + moved
            w[i] = w[i] - (moved + dtype(momentum) * v[i] if rule["nesterov"] else v[i])
        held = {"param": at_first(problem, rule, "param").astype(dtype)}
        held["momentum_buffer"] = np.zeros(problem.size, dtype)
        for i, place in enumerate(problem.places):
            held["param"][place], held["momentum_buffer"][place] = w[i], v[i] / dtype(lr)
        steps.append(held)
    return trajectory_of(steps)


@pytest.mark.parametrize("rule", LAMBS + LARSES, ids=str)
def test_optax(rule: Rule, device: str) -> None:
    problem = make_problem()
    assert_peers(problem, rule, device, *by_optax(problem, rule))


@pytest.mark.parametrize("rule", DECAYED_LARSES, ids=str)
def test_paper(rule: Rule, device: str) -> None:
    """With weight decay, where optax departs from the paper."""
    problem = make_problem()
    exact, fp32 = (by_paper(problem, rule, dtype) for dtype in (np.float64, np.float32))
    assert_peers(problem, rule, device, exact, fp32)


@pytest.mark.parametrize("rule", LARSES[:2], ids=str)
def test_optax_is_the_paper_without_decay(rule: Rule) -> None:
    """What test_paper goes by is what test_optax does."""
    problem = make_problem()
    exact, _ = by_optax(problem, rule)
    paper, real = by_paper(problem, rule, np.float64), problem.real()
    for name, values in exact.items():
        np.testing.assert_allclose(paper[name][:, real], values[:, real], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("rule", [LAMBS[1], LAMBS[5], LARSES[1], DECAYED_LARSES[3]], ids=str)
def test_groups_and_events(rule: Rule, device: str) -> None:
    """Groups with decay of their own, tensors that sit out, learning rates of 0 and next to it."""
    assert_formula(eventful_problem(), rule, device)
    assert_formula(eventful_problem(), rule.changed(maximize=True), device)


@pytest.mark.parametrize("rule", [LAMBS[1], LAMBS[5], LARSES[1], DECAYED_LARSES[0]], ids=str)
def test_zero_norms(rule: Rule, device: str) -> None:
    """Tensors that begin at zero, or whose gradient is zero for a while: the ratio is 1."""
    problem = make_problem()
    names = [tensor.name for tensor in problem.tensors]
    problem.params[problem.places[names.index("weight")]] = 0.0
    problem.params[problem.places[names.index("scalar")]] = 0.0
    problem.rows[20:40, :, problem.places[names.index("bias")]] = 0.0
    problem.rows[:3, :, problem.places[names.index("weight")]] = 0.0
    assert_formula(problem, rule, device)
    if not rule["weight_decay"]:
        exact, fp32 = by_optax(problem, rule)
        assert_peers(problem, rule, device, exact, fp32)
