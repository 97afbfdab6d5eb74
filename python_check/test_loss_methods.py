"""Aggregators that look at the losses, beside autograd and torch.optim in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from answers import Asked, assert_combined, sample
from compare import DOUBLE
from gramstep_c import named

TASKS = [1, 2, 3, 8, 64]
STEPS = 20

# Roundings of a learned scalar that add up over the steps, each relative to its step.
LEARNED = DOUBLE * STEPS

Scalarisation = Callable[[torch.Tensor], torch.Tensor]


def doubles(values: object) -> torch.Tensor:
    return torch.tensor(np.array(values), dtype=torch.float64)


def losses_of(tasks: int, steps: int = STEPS) -> np.ndarray:
    """Losses from 1/8 to 8 that wander, exact in fp32."""
    random = np.random.default_rng(tasks)
    walk = 2.0 ** np.clip(np.cumsum(random.uniform(-0.5, 0.5, (steps, tasks)), axis=0), -3, 3)
    return walk.astype(np.float32).astype(np.float64)


def stch(mu: float, preference: torch.Tensor, ideal: torch.Tensor) -> Scalarisation:
    """mu log sum exp(lambda (l - z) / mu)."""
    return lambda losses: mu * torch.logsumexp(preference * (losses - ideal) / mu, 0)


def scalarisations(tasks: int) -> dict[str, Scalarisation]:
    """Losses in one number, by the text of the aggregator that descends on it."""
    preference, ideal = 0.5 + np.arange(tasks) % 3, -0.25 * (np.arange(tasks) % 4)
    uniform = doubles(np.full(tasks, 1 / tasks))
    preferred = named("STCH", mu=0.5, preference=preference, ideal=ideal)
    return {
        "GLS": lambda losses: torch.exp(torch.log(losses).mean()),
        "ScaleInvariant": lambda losses: torch.log(losses).sum(),
        "STCH": stch(1.0, uniform, torch.zeros(tasks)),
        "STCH(mu=0.01)": stch(0.01, uniform, torch.zeros(tasks)),
        preferred: stch(0.5, doubles(preference), doubles(ideal)),
        "UncertaintyWeighting(initial=-0.5)": lambda losses: (
            np.exp(0.5) / 2 * losses - 0.5 / 2
        ).sum(),
        "IMTLL(initial=0.5)": lambda losses: (np.exp(0.5) * losses - 0.5).sum(),
        "DWA": lambda losses: losses.sum(),
        "GradNorm": lambda losses: losses.sum(),
        "FAMO": famo_start,
    }


def famo_start(losses: torch.Tensor) -> torch.Tensor:
    """sum log(l + 1e-8), its gradient brought to a sum of 1."""
    logs = torch.log(losses + 1e-8)
    return logs.sum() / (1 / (losses + 1e-8)).sum().detach()


@pytest.mark.parametrize("tasks", TASKS)
def test_gradients_of_scalarisations(tasks: int, device: str) -> None:
    """Linear losses of theta: J^T w is what autograd finds for the losses in one number."""
    for text, scalarise in scalarisations(tasks).items():
        for draw, rows in enumerate(sample("normal", tasks)):
            values = losses_of(tasks)[draw]
            theta = torch.zeros(rows.shape[1], dtype=torch.float64, requires_grad=True)
            losses = torch.from_numpy(rows) @ theta + torch.from_numpy(values)
            losses.retain_grad()
            scalarise(losses).backward()
            answer = Asked(text, *rows.shape, device).ask(rows, values)
            # An exponential's argument carries its own rounding: up to 8 / 0.01 here.
            np.testing.assert_allclose(answer.weights, losses.grad, rtol=1e3 * DOUBLE, err_msg=text)
            assert_combined(answer.direction, losses.grad.numpy(), rows)
            assert answer.kept


def learn(
    text: str, tasks: int, device: str, theirs: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    """Asks for STEPS steps and compares every one's weights with theirs(losses, norms)."""
    rows = sample("normal", tasks, 4)
    asked = Asked(text, *rows[0].shape, device)
    for step, values in enumerate(losses_of(tasks)):
        answer = asked.ask(rows[step % 4], values)
        expected = theirs(values, np.linalg.norm(rows[step % 4], axis=1))
        np.testing.assert_allclose(answer.weights, expected, rtol=LEARNED, err_msg=text)
        assert answer.kept


def learner(rule: str, values: torch.Tensor, lr: float, **options: float) -> torch.optim.Optimizer:
    """torch.optim's Adam or SGD by the aggregators' name for it."""
    return {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[rule]([values], lr=lr, **options)


@pytest.mark.parametrize("rule", ["adam", "sgd"])
@pytest.mark.parametrize("method", ["UncertaintyWeighting", "IMTLL"])
@pytest.mark.parametrize("tasks", TASKS)
def test_learned_scales(tasks: int, method: str, rule: str, device: str) -> None:
    """s learned by torch.optim on the paper's loss; a step's weights are from before its update."""
    lr, initial = 0.05, -0.25
    s = torch.full((tasks,), initial, dtype=torch.float64, requires_grad=True)
    optimizer = learner(rule, s, lr)

    def theirs(values: np.ndarray, _: np.ndarray) -> np.ndarray:
        losses = doubles(values).requires_grad_()
        optimizer.zero_grad()
        if method == "IMTLL":
            (torch.exp(s) * losses - s).sum().backward()
        else:
            (torch.exp(-s) * losses / 2 + s / 2).sum().backward()
        optimizer.step()
        return losses.grad.numpy()

    learn(named(method, lr=lr, initial=initial, rule=rule), tasks, device, theirs)


@pytest.mark.parametrize("gamma", [0.0, 0.01])
@pytest.mark.parametrize("lowest", [0.0, 0.0625])
@pytest.mark.parametrize("tasks", TASKS)
def test_famo(tasks: int, lowest: float, gamma: float, device: str) -> None:
    """The authors' autograd through the softmax, on the losses of two steps in a row.

    Convention: the authors take both losses from one batch, before and after the step.
    """
    xi = torch.zeros(tasks, dtype=torch.float64, requires_grad=True)
    optimizer = learner("adam", xi, 0.025, weight_decay=gamma)
    before: list[torch.Tensor] = []

    def theirs(values: np.ndarray, _: np.ndarray) -> np.ndarray:
        distance = doubles(values) - lowest + 1e-8
        if before:
            delta = torch.log(before[-1]) - torch.log(distance)
            optimizer.zero_grad()
            (torch.softmax(xi, 0) @ delta).backward()
            optimizer.step()
        before.append(distance)
        shares = torch.softmax(xi, 0).detach() / distance
        return (shares / shares.sum()).numpy()

    text = named("FAMO", gamma=gamma, min_losses=np.full(tasks, lowest))
    learn(text, tasks, device, theirs)


@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("temperature", [2.0, 0.5])
@pytest.mark.parametrize("tasks", TASKS)
def test_dwa(tasks: int, temperature: float, period: int, device: str) -> None:
    """The paper's softmax of quotients of mean losses."""
    seen: list[np.ndarray] = []

    def theirs(values: np.ndarray, _: np.ndarray) -> np.ndarray:
        whole = len(seen) // period * period
        means = np.array(seen[:whole]).reshape(-1, period, tasks).mean(axis=1)
        seen.append(values)
        quotients = means[-1] / means[-2] if len(means) > 1 else np.ones(tasks)
        shares = np.exp(quotients / temperature)
        return tasks * shares / shares.sum()

    learn(named("DWA", temperature=temperature, period=period), tasks, device, theirs)


@pytest.mark.parametrize("rule", ["adam", "sgd"])
@pytest.mark.parametrize("alpha", [0.0, 1.5])
@pytest.mark.parametrize("tasks", [2, 3, 8, 64])
def test_gradnorm(tasks: int, alpha: float, rule: str, device: str) -> None:
    """The paper's L1 loss by autograd, its target held constant.

    Conventions: the derivative is divided by the mean norm, so that gradients' scale is of no
    account, and no step takes more than half of a weight.
    """
    lr = 0.025
    w = torch.ones(tasks, dtype=torch.float64, requires_grad=True)
    optimizer, first = learner(rule, w, lr), []

    def theirs(values: np.ndarray, norms: np.ndarray) -> np.ndarray:
        first.append(values)
        n, used = doubles(norms), w.detach().clone()
        rates = doubles(values / first[0])
        target = ((w * n).mean() * (rates / rates.mean()) ** alpha).detach()
        optimizer.zero_grad()
        ((w * n - target).abs().sum() / n.mean()).backward()
        optimizer.step()
        with torch.no_grad():
            w.clamp_(min=0.5 * used)
            w.mul_(tasks / w.sum())
        return used.numpy()

    learn(named("GradNorm", alpha=alpha, lr=lr, rule=rule), tasks, device, theirs)
