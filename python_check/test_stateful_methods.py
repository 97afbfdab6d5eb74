"""Aggregators that remember: weights by descent on the simplex, smoothing, momentum of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from aggregation import gram_matrix
from answers import FULL_RANK, SAMPLERS, Answer, Asked, answers, assert_combined, sample
from bounded import Bounded, given
from compare import DOUBLE, assert_within
from gramstep_c import named
from methods import condition, conflict_free, cosines, lengths, on_simplex
from sensitivity import rounding_error

torchjd = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")

TASKS = [2, 3, 8, 17]
STEPS = 4

# TorchJD adds 1e-8 to SDMGrad's squared scale, we nothing: rows so long that it does not count.
LONG = 2.0**20


def running(weighting: torch.nn.Module) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """The weights of every step by a TorchJD weighting that starts afresh."""

    def weights(grams: Sequence[np.ndarray]) -> np.ndarray:
        weighting.reset()
        return np.stack([weighting(torch.from_numpy(gram)).numpy() for gram in grams])

    return weights


def assert_as(
    theirs: Callable[[Sequence[np.ndarray]], np.ndarray], found: list[Answer], turns: int
) -> None:
    """All steps' weights are theirs but for rounding."""
    grams = [answer.gram for answer in found]
    ours = np.stack([answer.weights for answer in found])
    error = rounding_error(theirs, grams, turns * len(grams))
    assert np.abs(ours - theirs(grams)).max() <= error
    assert all(answer.kept for answer in found)


@pytest.mark.parametrize(
    ("lr", "momentum", "iterations", "weight"),
    [(10.0, 0.5, 3, 0.3), (10.0, 0.0, 2, 0.0), (0.25, 0.5, 20, 0.3), (0.05, 0.9, 20, 2.0)],
)
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_sdmgrad(
    kind: str,
    tasks: int,
    lr: float,
    momentum: float,
    iterations: int,
    weight: float,
    device: str,
) -> None:
    """TorchJD's iteration. At its default length of a step, 10, what rounding does to 20 turns is
    anybody's guess: few turns then, and many where steps are shorter."""
    steps = [LONG * rows for rows in sample(kind, tasks, STEPS)]
    options = {"eta": lr, "momentum": momentum, "iterations": iterations, "lambda": weight}
    found = answers(named("SDMGrad", **options), steps, device)
    theirs = running(torchjd.SDMGradWeighting(lr, momentum, iterations, weight))
    assert_as(theirs, found, iterations)
    for answer in found:
        state = answer.state["weights"]
        uniform = weight / tasks
        np.testing.assert_allclose(
            answer.weights * (1 + weight), state + uniform, rtol=DOUBLE, atol=DOUBLE
        )


@pytest.mark.parametrize("rho", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_modo(kind: str, tasks: int, rho: float, device: str) -> None:
    """TorchJD's step of projected descent, at rates beyond and below what settles."""
    steps = sample(kind, tasks, STEPS)
    for gamma in (0.1, 0.5 / max(np.trace(rows @ rows.T) for rows in steps)):
        found = answers(named("MoDo", gamma=gamma, rho=rho), steps, device)
        assert_as(running(torchjd.MoDoWeighting(gamma, rho)), found, 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("method", ["UPGrad", "AlignedMTL"])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", ["normal", "weak", "strong"])
def test_smoothing(kind: str, tasks: int, method: str, smoothing: float, device: str) -> None:
    """CR-MOGM round a method, beside TorchJD's."""
    pytest.importorskip("quadprog", reason="TorchJD's solver is not installed")
    steps = sample(kind, tasks, STEPS)
    found = answers(method, steps, device, smoothing=smoothing)
    inner = getattr(torchjd, method)().gramian_weighting
    theirs = running(torchjd.CRMOGMWeighting(inner, alpha=smoothing))
    assert_as(theirs, found, tasks)
    if smoothing:
        np.testing.assert_array_equal(found[-1].state["smoothed_weights"], found[-1].weights)


def losses_of(tasks: int) -> np.ndarray:
    """Losses of every step, exact in fp32."""
    return 2.0 ** np.random.default_rng(tasks).integers(-3, 4, (STEPS, tasks))


class Momenta:
    """m = keep m + take g over arrays that carry a bound on fp32's error."""

    def __init__(self, rows: np.ndarray) -> None:
        self.values: Bounded | None = None
        self.shape = rows.shape

    def mix(self, keep: float, take: np.ndarray, rows: np.ndarray) -> Bounded:
        """take: one number a task."""
        fresh = given(rows) * np.broadcast_to(np.reshape(take, (-1, 1)), rows.shape)
        before = Bounded(np.zeros(self.shape)) if self.values is None else self.values
        self.values = before * keep + fresh
        return self.values


def assert_of_momenta(answer: Answer, momenta: Bounded, device: str) -> None:
    """The momenta are right; the Gram matrix and the direction are theirs."""
    assert_within(answer.momenta, momenta.value, momenta.error)
    gram = gram_matrix(answer.momenta, device)
    assert_within(answer.gram, gram.value, gram.error)
    assert_combined(answer.direction, answer.weights, answer.momenta.astype(np.float64))
    assert answer.kept


@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_moco(kind: str, tasks: int, rho: float, device: str) -> None:
    """The paper's algorithm 1; rates that fall with the steps."""
    beta, beta_sigma, gamma, gamma_sigma = 0.5, 0.5, 0.01, 0.25
    steps = sample(kind, tasks, STEPS)
    text = named(
        "MoCo",
        beta=beta,
        beta_sigma=beta_sigma,
        gamma=gamma,
        gamma_sigma=gamma_sigma,
        rho=rho,
    )
    asked = Asked(text, *steps[0].shape, device)
    momenta, last = Momenta(steps[0]), np.full(tasks, 1 / tasks)
    for t, rows in enumerate(steps, 1):
        answer = asked.ask(rows, momenta=True)
        rate = beta / t**beta_sigma
        assert_of_momenta(answer, momenta.mix(1 - rate, np.full(tasks, rate), rows), device)
        moved = last - gamma / t**gamma_sigma * (answer.gram @ last + rho * last)
        scale = 1 + np.abs(moved).max()
        error = tasks * DOUBLE * scale
        np.testing.assert_allclose(answer.weights, on_simplex(moved), rtol=0, atol=error)
        last = answer.weights


@pytest.mark.parametrize("log_transform", [True, False])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_db_mtl(kind: str, tasks: int, log_transform: bool, device: str) -> None:
    """LibMTL's DB-MTL: momenta of the logarithms' gradients, all as long as the longest."""
    beta, beta_sigma, epsilon = 0.9, 0.5, 1e-8
    steps, losses = sample(kind, tasks, STEPS), losses_of(tasks)
    text = named(
        "DBMTL", beta=beta, beta_sigma=beta_sigma, epsilon=epsilon, log_transform=log_transform
    )
    asked, momenta = Asked(text, *steps[0].shape, device), Momenta(steps[0])
    for t, (rows, values) in enumerate(zip(steps, losses, strict=True), 1):
        answer = asked.ask(rows, values if log_transform else None, momenta=True)
        keep = beta / t**beta_sigma
        take = (1 - keep) / (values + epsilon) if log_transform else np.full(tasks, 1 - keep)
        assert_of_momenta(answer, momenta.mix(keep, take, rows), device)
        n = lengths(answer.gram)
        np.testing.assert_allclose(answer.weights, n.max() / n, rtol=DOUBLE)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", FULL_RANK)
def test_momentum_config(kind: str, tasks: int, device: str) -> None:
    """ConFIG of the momenta, corrected for their start at 0."""
    beta = 0.8
    steps, preference = sample(kind, tasks, STEPS), 1.0 + np.arange(tasks) % 3
    text = named("MomentumConFIG", beta=beta, preference=preference)
    asked, momenta = Asked(text, *steps[0].shape, device), Momenta(steps[0])
    for t, rows in enumerate(steps, 1):
        answer = asked.ask(rows, momenta=True)
        assert_of_momenta(answer, momenta.mix(beta, np.full(tasks, 1 - beta), rows), device)
        expected = conflict_free(answer.gram, preference, tasks * 2.0**-23) / (1 - beta**t)
        error = tasks * DOUBLE * condition(cosines(answer.gram)) * np.linalg.norm(expected)
        assert np.linalg.norm(answer.weights - expected) <= error
