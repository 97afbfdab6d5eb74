"""The two-task toy of the CAGrad and Nash-MTL papers, trained by gramstep's Adam.

A valley with a steep wall on either side, h, leads down to two bowls, q. From three starts the
gradients' conflict or their unequal lengths hold a sum of losses on a wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, tanh
from typing import Any

import numpy as np

import gramstep_c
from gramstep_c import named

LEAST = 5e-6

CAGRAD_STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
NASH_STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))


@dataclass(frozen=True)
class Version:
    """A factor on the first loss, and how long the paper trains from where."""

    factor: float
    steps: int
    starts: tuple[tuple[float, float], ...]


CAGRAD = Version(1.0, 100_000, CAGRAD_STARTS)
NASH = Version(0.1, 35_000, NASH_STARTS)

# A floor under the losses of the Nash version, for FAMO: q >= -20, and h c >= -6.3.
FLOOR = (0.1 * -20.0, -20.0)


def losses_and_gradients(x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """f1, f2, and their gradients: f1_x, f1_y, f2_x, f2_y."""
    if y > 0:
        return upper(x, y)
    if y < 0:
        return lower(x, y)
    # Both factors are 0, and torch.clamp lets both gradients through.
    above, below = upper(x, y), lower(x, y)
    return tuple(a + b for a, b in zip(above, below, strict=True))


def upper(x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """Where c1 = tanh(y / 2) >= 0: h c1."""
    t, c = tanh(y), tanh(0.5 * y)
    s, slope = 1 - t * t, 0.5 * (1 - c * c)  # dt/dy, dc/dy
    a1, a2 = 0.5 * (-x - 7) + t, 0.5 * (-x + 3) - t + 2
    far1, far2 = abs(a1) > LEAST, abs(a2) > LEAST
    h1, h2 = log(abs(a1) if far1 else LEAST) + 6, log(abs(a2) if far2 else LEAST) + 6
    k1, k2 = c / a1 if far1 else 0.0, c / a2 if far2 else 0.0
    f1_y, f2_y = s * k1 + h1 * slope, -s * k2 + h2 * slope
    return h1 * c, h2 * c, -0.5 * k1, f1_y, -0.5 * k2, f2_y


def lower(x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """Where c2 = -tanh(y / 2) >= 0: q c2."""
    c = -tanh(0.5 * y)
    slope = -0.5 * (1 - c * c)  # dc/dy
    level = 0.1 * (y + 8) ** 2
    q1, q2 = ((7 - x) ** 2 + level) / 10 - 20, ((x + 7) ** 2 + level) / 10 - 20
    q_y = 0.02 * (y + 8)
    f1_x, f2_x = -0.2 * (7 - x) * c, 0.2 * (x + 7) * c
    return q1 * c, q2 * c, f1_x, q_y * c + q1 * slope, f2_x, q_y * c + q2 * slope


def losses(x: float, y: float) -> np.ndarray:
    """f of the CAGrad version."""
    return np.array(losses_and_gradients(x, y)[:2])


def front(points: int = 401) -> np.ndarray:
    """Points of the Pareto set [points, 2]: gradients opposite, from one bowl to the other."""
    found = []
    for x in np.linspace(-7, 7, points):
        low, high = -10.0, -8.0  # the cross product of the gradients changes sign in between
        for _ in range(60):
            middle = (low + high) / 2
            _, _, f1_x, f1_y, f2_x, f2_y = losses_and_gradients(x, middle)
            if f1_x * f2_y - f1_y * f2_x < 0:
                high = middle
            else:
                low = middle
        found.append((x, (low + high) / 2))
    return np.array(found)


def shortfall(x: float, y: float, pareto: np.ndarray) -> float:
    """By how much f misses the nearest losses of the front, in the worse of the two."""
    on_front = np.array([losses(*point) for point in pareto])
    return float((losses(x, y) - on_front).max(axis=1).min())


def train(
    aggregator: str,
    version: Version,
    start: tuple[float, float],
    steps: int | None = None,
    every: int = 0,
    **options: Any,
) -> np.ndarray:
    """Adam with a learning rate of 1e-3; the positions after every `every`-th step, or the last."""
    layout = gramstep_c.Layout()
    layout.add("x", (2,))
    size = layout.sizes()[0]
    optimizer = gramstep_c.Optimizer(
        layout,
        named("Adam", lr=1e-3),
        aggregator=aggregator,
        tasks=2,
        threads=1,
        **options,
    )
    params, values = np.zeros(size, np.float32), np.zeros(2, np.float32)
    first, second = np.zeros(size, np.float32), np.zeros(size, np.float32)
    params[:2] = start
    step = optimizer.stepper(params, [first, second], values)
    p, g1, g2, f = [memoryview(each) for each in (params, first, second, values)]
    factor, positions = version.factor, []
    for count in range(1, (version.steps if steps is None else steps) + 1):
        f1, f2, f1_x, f1_y, f2_x, f2_y = losses_and_gradients(p[0], p[1])
        f[0], f[1] = factor * f1, f2
        g1[0], g1[1] = factor * f1_x, factor * f1_y
        g2[0], g2[1] = f2_x, f2_y
        step()
        if every and count % every == 0:
            positions.append((p[0], p[1]))
    return np.array(positions if every else [(p[0], p[1])])
