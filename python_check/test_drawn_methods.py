"""Aggregators that draw, or combine element by element, beside TorchJD fed with the same draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from aggregation import fixed_order, fresh_order, orders_of, philox
from answers import SAMPLERS, Asked, answer_to, answers, sample
from compare import DOUBLE
from gramstep_c import named
from sensitivity import rounding_error

torchjd = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")

TASKS = [2, 3, 8, 17]
STEPS = 3
SEED = 0xFEDCBA9876543210  # both halves of the key count


def normal(seed: int, task: int, step: int) -> float:
    """Random's draw: Box and Muller's of two numbers of 52 bits."""
    words = philox(seed, [task, 0, step & 0xFFFFFFFF, step >> 32])
    first, second = [
        (((high << 32 | low) >> 12) + 0.5) * 2.0**-52 for high, low in (words[:2], words[2:])
    ]
    return float(np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second))


@pytest.mark.parametrize("tasks", [*TASKS, 64])
def test_random(tasks: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TorchJD's softmax of our normals."""
    steps = sample("normal", tasks, STEPS)
    for step, answer in enumerate(answers(named("Random", seed=SEED), steps, device)):
        draws = [normal(SEED, task, step + 1) for task in range(tasks)]
        drawn = torch.tensor(draws, dtype=torch.float64)
        monkeypatch.setattr(torch, "randn", lambda *_, d=drawn, **__: d)
        expected = torchjd.Random().weighting(torch.from_numpy(steps[step])).numpy()
        # A logarithm's argument near 1 and a cosine's near pi / 2 magnify roundings by their size.
        np.testing.assert_allclose(answer.weights, expected, rtol=tasks * DOUBLE)


def test_normals_are_normal() -> None:
    """Mean, variance and correlation of 4000 draws are within five deviations of theirs."""
    draws = np.array([[normal(SEED, task, step) for step in range(1000)] for task in range(4)])
    deviation = 1 / np.sqrt(draws.size)
    assert abs(draws.mean()) <= 5 * deviation
    assert abs((draws**2).mean() - 1) <= 5 * np.sqrt(2) * deviation
    products = np.corrcoef(draws)[np.triu_indices(4, 1)]
    assert np.abs(products).max() <= 5 / np.sqrt(1000)


def torchjd_gradvac(
    grams: Sequence[np.ndarray],
    orders: Sequence[Sequence[Sequence[int]]],
    beta: float,
    monkeypatch: pytest.MonkeyPatch,
) -> np.ndarray:
    """TorchJD's weights of every step, task i meeting the others in orders[step][i]."""
    # It draws a permutation of the other tasks' positions in a list that has a gap at i.
    permutations = iter(
        [[j - (j > i) for j in met if j != i] for order in orders for i, met in enumerate(order)]
    )
    monkeypatch.setattr(torch, "randperm", lambda count: torch.tensor(next(permutations)))
    weighting = torchjd.GradVac(beta=beta, eps=0.0).gramian_weighting
    return np.stack([weighting(torch.from_numpy(gram)).numpy() for gram in grams])


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("order", ["fixed", "fresh"])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", ["normal", "weak", "strong", "spread"])
def test_gradvac(
    kind: str, tasks: int, order: str, beta: float, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convention: our epsilon is relative to the rows, TorchJD's absolute; here neither counts."""
    steps = sample(kind, tasks, STEPS)
    options = {"order": order, "seed": SEED, "beta": beta, "epsilon": 1e-300}
    found = answers(named("GradVac", **options), steps, device)
    met = fixed_order if order == "fixed" else fresh_order(SEED)
    orders = [orders_of(met, step + 1, tasks) for step in range(STEPS)]

    def theirs(grams: Sequence[np.ndarray]) -> np.ndarray:
        return torchjd_gradvac(grams, orders, beta, monkeypatch)

    grams = [answer.gram for answer in found]
    expected, ours = theirs(grams), np.stack([answer.weights for answer in found])
    assert np.abs(ours - expected).max() <= rounding_error(theirs, grams, tasks * STEPS)
    mean = answers(named("GradVac", reduction="mean", **options), steps, device)
    for answer, sum_ in zip(mean, found, strict=True):
        np.testing.assert_array_equal(answer.weights, sum_.weights / tasks)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_first_gradvac_is_pcgrad(kind: str, device: str) -> None:
    """Before the first step all targets are 0."""
    for rows in sample(kind, 8):
        gradvac = answer_to(named("GradVac", seed=SEED, epsilon=1e-300), rows, device)
        pcgrad = answer_to(named("PCGrad", seed=SEED), rows, device)
        scale = np.abs(pcgrad.weights).max()
        np.testing.assert_allclose(
            gradvac.weights, pcgrad.weights, rtol=0, atol=64 * DOUBLE * scale
        )


def uniforms(seed: int, step: int, size: int) -> np.ndarray:
    """GradDrop's draws for a row: 24 bits of a word each, four neighbours to a block."""
    words = [philox(seed, [block, 0, step, 0]) for block in range((size + 3) // 4)]
    return np.array(words).ravel()[:size].__rshift__(8) * np.float32(2.0**-24)


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("tasks", [1, *TASKS])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_graddrop(
    kind: str, tasks: int, leaky: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchJD's direction to the bit: sums of small integers are exact, and leaks of quarters."""
    leak = np.arange(tasks) % 5 / 4
    text = named("GradDrop", seed=SEED, leak=leak) if leaky else named("GradDrop", seed=SEED)
    asked = None
    for step, rows in enumerate(sample(kind, tasks)):
        # Norms that differ much make sums that are not exact.
        rows = np.sign(rows) * (1 + np.abs(rows) % 7) if kind == "spread" else rows
        rows[:, ~rows.any(axis=0)] = 1.0  # TorchJD divides 0 by 0 in a column of zeros
        asked = asked or Asked(text, *rows.shape, device)
        drawn = torch.from_numpy(uniforms(SEED, step + 1, rows.shape[1]).astype(np.float32))
        monkeypatch.setattr(torch, "rand", lambda *_, d=drawn, **__: d)
        kept = torch.from_numpy(leak).float() if leaky else None
        expected = torchjd.GradDrop(leak=kept)(torch.from_numpy(rows).float()).numpy()
        np.testing.assert_array_equal(asked.ask(rows).direction, expected)


@pytest.mark.parametrize("trim", [0, 1, 3])
@pytest.mark.parametrize("tasks", [1, 3, 8, 17, 64])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_trimmed_mean(kind: str, tasks: int, trim: int, device: str) -> None:
    """TorchJD's direction to the bit where sums are exact, else to the roundings of a sum."""
    if 2 * trim >= tasks:
        pytest.skip("nothing would be left")
    for rows in sample(kind, tasks):
        asked = Asked(named("TrimmedMean", trim=trim), *rows.shape, device)
        got = asked.ask(rows).direction
        expected = torchjd.TrimmedMean(trim)(torch.from_numpy(rows).float()).numpy()
        if kind == "spread":
            error = (tasks + 1) * 2.0**-23 * np.abs(rows).mean(axis=0)
            assert (np.abs(got - expected) <= error).all()
        else:
            np.testing.assert_array_equal(got, expected)
