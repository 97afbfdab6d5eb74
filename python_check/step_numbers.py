"""What the rules' formulas are told of their steps, and what several of them do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bounded import FLUSH, UNIT, Bounded, sqrt, where
from rules import Rule

Step = tuple[Bounded, dict[str, Bounded]]
State = dict[str, Bounded]


@dataclass
class StepNumbers:
    """What a rule is told of its steps, element by element, in float64."""

    lr: np.ndarray
    weight_decay: np.ndarray
    t: np.ndarray  # which step of the element's tensor it is, 1 for the first
    used: np.ndarray  # whether the element's tensor has a gradient
    places: list[slice]  # the tensors' elements
    shapes: list[tuple[int, ...]]  # their shapes, flat where they are to be no matrices
    momentum: np.ndarray | None = None  # [steps, 1] in the place of the rule's momentum or beta1

    def betas(self, rule: Rule) -> list[Any]:
        """The rule's betas, the first as scheduled."""
        own = list(rule["betas"])
        return own if self.momentum is None else [self.momentum, *own[1:]]

    def momentum_of(self, rule: Rule) -> Any:
        """The rule's momentum, as scheduled."""
        return rule["momentum"] if self.momentum is None else self.momentum


def add_l2(numbers: StepNumbers, g: Bounded, p: Bounded) -> Bounded:
    """g + weight_decay * p, and no operation where there is no decay."""
    return where(numbers.weight_decay != 0, g + p * numbers.weight_decay, g)


def decayed(numbers: StepNumbers, p: Bounded) -> Bounded:
    """p - lr * weight_decay * p."""
    return p - p * (numbers.lr * numbers.weight_decay)


def with_decay(
    numbers: StepNumbers, decoupled: bool, g: Bounded, p: Bounded
) -> tuple[Bounded, Bounded]:
    """Gradient and parameters after either kind of weight decay."""
    return (g, decayed(numbers, p)) if decoupled else (add_l2(numbers, g, p), p)


def lerp(a: Bounded, b: Bounded, share: Any) -> Bounded:
    return a + (b - a) * share


def mean_square(v: Bounded, g: Bounded, beta: float) -> Bounded:
    return v * beta + g * g * (1 - beta)


def norms(numbers: StepNumbers, x: Bounded) -> Bounded:
    """Every tensor's norm, at each of its elements.

    Squares are rounded, added up in fp32 over at most 16 terms, and then in double: 16 roundings of
    what is never negative.
    """
    squared, error = np.zeros(x.value.shape), np.zeros(x.value.shape)
    for place in numbers.places:
        v, e = x.value[:, place], x.error[:, place]
        total = (v * v).sum(axis=1, keepdims=True)
        lost = (2 * np.abs(v) * e + e * e + FLUSH).sum(axis=1, keepdims=True)
        squared[:, place], error[:, place] = total, lost + 16 * UNIT * (total + lost)
    return sqrt(Bounded(squared, error))
