"""How far rounding carries an answer that comes out of many turns of an iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

EPSILON = np.finfo(np.float64).eps

# So large that rounding does not show beside it, so small that nothing but first order does.
PERTURBATION = 2.0**-32
PERTURBATIONS = 6

# Roundings of a turn, for every task: products, sums, quotients, of two implementations.
ROUNDINGS = 8


def rounding_error(
    answer: Callable[[Sequence[np.ndarray]], np.ndarray], grams: Sequence[np.ndarray], turns: int
) -> float:
    """How far two implementations in double may differ after that many turns on these matrices.

    To first order an answer changes by the condition number times what its input changes by; the
    number is found by perturbing. A rounding anywhere on the way is taken for one in the input.
    """
    random = np.random.default_rng(0)
    expected, most = answer(grams), 0.0
    for _ in range(PERTURBATIONS):
        moved = []
        for gram in grams:
            factor = 1 + PERTURBATION * np.triu(random.choice([-1.0, 1.0], gram.shape))
            upper = np.triu(gram * factor)
            moved.append(upper + np.triu(upper, 1).T)
        most = max(most, np.abs(answer(moved) - expected).max())
    condition = most / PERTURBATION + np.abs(expected).max()
    return ROUNDINGS * turns * len(grams[0]) * EPSILON * condition
