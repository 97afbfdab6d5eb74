"""The formulas of rules that treat matrices apart, over bounded arrays; see rule_steps.py.

What is kept by row or by column stands at every element of it, and 0 at those of no matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bounded import (
    FEW_ULPS,
    FLUSH,
    ROUNDINGS_BESIDE_TORCH,
    UNIT,
    Bounded,
    bounded,
    given,
    maximum,
    rounded,
    sqrt,
    where,
)
from rules import Rule
from step_numbers import State, Step, StepNumbers, decayed, lerp, norms

# How often the input of an iteration is moved by its error, to see what becomes of that.
DRAWS = 3


def matrices(rule: Rule, numbers: StepNumbers) -> Iterator[tuple[slice, tuple[int, ...]]]:
    """The places and shapes of the tensors that the rule takes as matrices."""
    for place, shape in zip(numbers.places, numbers.shapes, strict=True):
        if rule.is_matrix(shape):
            yield place, shape


def of_matrices(rule: Rule, numbers: StepNumbers) -> np.ndarray:
    """Which elements are a matrix'."""
    found = np.zeros(numbers.used.shape, dtype=bool)
    for place, _ in matrices(rule, numbers):
        found[:, place] = True
    return found


def means(rule: Rule, numbers: StepNumbers, x: Bounded, axis: int) -> Bounded:
    """Means of x along an axis of every matrix.

    As a norm's squares (see norms) they are added up in fp32 over at most 16 terms, then in double.
    """
    found, error = np.zeros(x.value.shape), np.zeros(x.value.shape)
    for place, shape in matrices(rule, numbers):
        stack = (-1, *shape)
        value, lost = (
            part[:, place].reshape(stack).mean(axis, keepdims=True) for part in (x.value, x.error)
        )
        lost = lost + 16 * UNIT * (np.abs(value) + lost)
        for whole, mean in ((found, value), (error, lost)):
            spread = np.broadcast_to(mean, (len(whole), *shape))
            whole[:, place] = spread.reshape(len(whole), -1)
    return rounded(found, error)


def root_mean_squares(numbers: StepNumbers, x: Bounded) -> Bounded:
    """Every tensor's root of its mean square, at each of its elements."""
    inverse = np.zeros(x.value.shape)
    for place in numbers.places:
        inverse[:, place] = 1 / np.sqrt(max(place.stop - place.start, 1))
    return norms(numbers, x) * inverse


def torchs_lerp(a: Bounded, b: Bounded, share: np.ndarray) -> Bounded:
    """torch's lerp: from the half on it goes back from b, so that all of b is b and no more."""
    return where(share < 0.5, lerp(a, b, share), b - (b - a) * (1 - share))


def adafactor_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.Adafactor."""
    least, least_rms = rule["eps"]
    least = 2.0**-23 if least is None else least
    matrix = of_matrices(rule, numbers)
    take = np.where(numbers.used, numbers.t ** rule["beta2_decay"], 0.0)
    # As the sums of norms: what is rounded of a square is among the sum's roundings.
    squares = Bounded(g.value**2, 2 * np.abs(g.value) * g.error + g.error**2 + FLUSH)
    row, column = (
        torchs_lerp(state[name], means(rule, numbers, squares, axis), take)
        for name, axis in (("row_var", -1), ("col_var", -2))
    )
    variance = torchs_lerp(state["variance"], g * g, take)
    factor = row / maximum(means(rule, numbers, row, -2), bounded(least))
    # One over the root of each factor is rounded, not of their product: that is a rounding more.
    one = given(np.ones(g.value.shape))
    roots = where(matrix, sqrt(factor) * sqrt(column) * one, sqrt(variance))
    u = one / maximum(roots, bounded(least)) * g
    over = root_mean_squares(numbers, u) * (1 / rule["d"])
    scale = maximum(root_mean_squares(numbers, p), bounded(least_rms))
    alpha = scale / maximum(over, bounded(1.0)) * np.minimum(numbers.lr, 1 / np.sqrt(numbers.t))
    keep = 1 - numbers.lr * numbers.weight_decay
    new_state = {
        "row_var": where(matrix, row, state["row_var"]),
        "col_var": where(matrix, column, state["col_var"]),
        "variance": where(matrix, state["variance"], variance),
    }
    return where(keep == 1, p, p * keep) - u * alpha, new_state


def newton_schulz(rule: Rule, x: np.ndarray) -> np.ndarray:
    """Muon's iteration on [steps, R, C] in the precision of x."""
    a, b, c = rule["ns_coefficients"]
    norm = np.linalg.norm(x, axis=(1, 2), keepdims=True)
    x = x / np.maximum(norm, x.dtype.type(rule["eps"]))
    flat = x.shape[1] <= x.shape[2]
    x = x if flat else x.swapaxes(1, 2)
    for _ in range(rule["ns_steps"]):
        gram = x @ x.swapaxes(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if flat else x.swapaxes(1, 2)


def orthogonalized(rule: Rule, numbers: StepNumbers, u: Bounded) -> Bounded:
    """What the iteration makes of every matrix.

    A bound for every rounding would grow fourfold with each turn. So the same formula in fp32 says
    what rounding loses on the way: the most in all steps, all of which are as long as each other.
    And in double, from where its error may have moved the input, it says what becomes of that; see
    sensitivity.py.
    """
    random = np.random.default_rng(0)
    value, error = np.zeros(u.value.shape), np.zeros(u.value.shape)
    for place, shape in matrices(rule, numbers):
        own, off = (part[:, place].reshape(-1, *shape) for part in (u.value, u.error))
        exact = newton_schulz(rule, own)
        lost = np.abs(newton_schulz(rule, own.astype(np.float32)) - exact).max()
        moved = np.zeros((len(own), 1))
        for _ in range(DRAWS):
            other = newton_schulz(rule, own + off * random.choice([-1.0, 1.0], own.shape))
            moved = np.maximum(moved, np.abs(other - exact).max(axis=(1, 2))[:, None])
        ulp = 2 * UNIT * np.abs(exact).max()
        value[:, place] = exact.reshape(len(exact), -1)
        error[:, place] = ROUNDINGS_BESIDE_TORCH * (lost + moved) + FEW_ULPS * ulp
    return Bounded(value, error)


def shape_factors(rule: Rule, numbers: StepNumbers) -> np.ndarray:
    """What the learning rate of every matrix is multiplied by."""
    found = np.ones(numbers.used.shape)
    for place, (rows, columns) in matrices(rule, numbers):
        wider = np.sqrt(max(1.0, rows / columns))
        matched = rule["adjust_lr_fn"] == "match_rms_adamw"
        found[:, place] = 0.2 * np.sqrt(max(rows, columns)) if matched else wider
    return found


def muon_matrix_step(
    rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State
) -> Step:
    """torch.optim.Muon, for matrices."""
    momentum = numbers.momentum_of(rule)
    b = lerp(state["momentum_buffer"], g, 1 - momentum)
    u = lerp(g, b, momentum) if rule["nesterov"] else b
    x = orthogonalized(rule, numbers, u)
    step = x * (numbers.lr * shape_factors(rule, numbers))
    return decayed(numbers, p) - step, {"momentum_buffer": b}
