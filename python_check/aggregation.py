"""What the gram and plan stages decide, in float64, and how the Gram matrix's error spreads.

gramstep sums products in fp32 and decides in double, so all error comes from the Gram matrix. The
Bounded of this file are exact formulas that pass an error on; none of them rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bounded import FLUSH, UNIT, Bounded, bounded, given, rounded
from problems import Problem

# Roundings to fp32 in a sum of products, before it is widened to double, and two to spare for what
# is of second order and for double. The CPU multiplies and adds 32 products a lane; CUDA's longest
# sums, those of many rows, take 512 products by fma.
GRAM_ROUNDINGS = {"cpu": 32 + 2, "cuda": 512 + 2}

Order = Callable[
    [int, int, int], Sequence[int]
]  # (step, task, K) -> in which order it meets others


def gram_matrix(rows: np.ndarray, device: str) -> Bounded:
    """J J^T of [K, N] rows: the error is that of sums of products, one of which may be flushed."""
    rows = rows.astype(np.float64)
    error = GRAM_ROUNDINGS[device] * UNIT * (np.abs(rows) @ np.abs(rows).T)
    return Bounded(rows @ rows.T, error + rows.shape[1] * FLUSH)


def philox(key: int, counter: Sequence[int]) -> list[int]:
    """Philox4x32-10 of Salmon et al., SC 2011: four words of 32 bits."""
    mask = 0xFFFFFFFF
    low, high = key & mask, key >> 32
    a, b, c, d = counter
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ low, right & mask, (left >> 32) ^ d ^ high, left & mask
        low, high = (low + 0x9E3779B9) & mask, (high + 0xBB67AE85) & mask
    return [a, b, c, d]


def fixed_order(step: int, task: int, tasks: int) -> Sequence[int]:
    """By task index."""
    return range(tasks)


def fresh_order(seed: int) -> Order:
    """Fisher and Yates from the end; draw n is word n % 4 of counter (task, n / 4, step)."""

    def order(step: int, task: int, tasks: int) -> Sequence[int]:
        met = list(range(tasks))
        for draw, last in enumerate(range(tasks - 1, 0, -1)):
            words = philox(seed, [task, draw // 4, step & 0xFFFFFFFF, step >> 32])
            other = words[draw % 4] * (last + 1) >> 32
            met[last], met[other] = met[other], met[last]
        return met

    return order


def orders_of(order: Order, step: int, tasks: int) -> list[Sequence[int]]:
    """In which order every task meets the others in that step, 1 for the first."""
    return [order(step, task, tasks) for task in range(tasks)]


def pcgrad(gram: Bounded, orders: Sequence[Sequence[int]]) -> Bounded:
    """PCGrad's weights. max(0, -s) is no further off than s is, so no branch is a cliff."""
    tasks = len(orders)
    total = np.zeros(tasks)
    total_error = np.zeros(tasks)
    for i, order in enumerate(orders):
        c, error = np.eye(tasks)[i], np.zeros(tasks)
        for j in order:
            if j == i or gram.value[j, j] == 0:
                continue
            column, column_error = gram.value[:, j], gram.error[:, j]
            s = c @ column
            s_error = (np.abs(c) + error) @ column_error + error @ np.abs(column)
            if s >= s_error:
                continue  # surely no conflict
            surely = gram.value[j, j] - gram.error[j, j]
            conflict = max(0.0, -s)
            c[j] += conflict / gram.value[j, j]
            error[j] += (s_error + conflict * gram.error[j, j] / gram.value[j, j]) / surely
        total += c
        total_error += error
    return Bounded(total, total_error)


def pcgrad_weights(order: Order) -> Callable[[int, Bounded], Bounded]:
    """PCGrad as a function of the step, 1 for the first, and the Gram matrix."""

    def weights(step: int, gram: Bounded) -> Bounded:
        return pcgrad(gram, orders_of(order, step, gram.value.shape[0]))

    return weights


def norm(weights: Bounded, gram: Bounded, heads_squared: Bounded) -> Bounded:
    """The norm of the combined gradient and the heads', from w^T G w."""
    w, g = np.abs(weights.value), np.abs(gram.value)
    most = (w + weights.error) @ (g + gram.error) @ (w + weights.error)
    squared = weights.value @ gram.value @ weights.value + heads_squared.value
    error = most - w @ g @ w + heads_squared.error
    root = np.sqrt(squared)
    below = root - np.sqrt(max(squared - error, 0.0))
    return Bounded(root, max(below, np.sqrt(squared + error) - root))


def clip_coefficient(norm_before: Bounded, clip_norm: float) -> Bounded:
    """min(1, clip_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it."""

    def coefficient(of: float) -> float:
        return min(1.0, clip_norm / (of + 1e-6))

    middle = coefficient(norm_before.value)
    low = coefficient(norm_before.value + norm_before.error)
    high = coefficient(max(norm_before.value - norm_before.error, 0.0))
    return Bounded(middle, max(middle - low, high - middle))


def looked_at(problem: Problem, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and heads of a step in float64, zero where there is padding or no gradient."""
    used = problem.elements(problem.active[step], False)
    shared = problem.shared_size
    rows = np.where(used[:shared], problem.rows[step], 0.0).astype(np.float64)
    return rows, np.where(used[shared:], problem.heads[step], 0.0).astype(np.float64)


def combined_step(
    problem: Problem,
    step: int,
    device: str,
    weights_of: Callable[[int, Bounded], Bounded],
    clip_norm: float = np.inf,
    loss_scale: float = 1.0,
) -> tuple[Bounded, Bounded]:
    """The gradient that the rule is given in a step, and its norm before clipping."""
    rows, heads = looked_at(problem, step)
    gram = gram_matrix(rows / loss_scale, device)
    weights = weights_of(step + 1, gram)
    heads_gram = gram_matrix(heads[None] / loss_scale, device)
    norm_before = norm(weights, gram, Bounded(heads_gram.value[0, 0], heads_gram.error[0, 0]))
    clip = clip_coefficient(norm_before, clip_norm)
    scale = Bounded(clip.value / loss_scale, clip.error / loss_scale)
    shared = None
    for row, weight, weight_error in zip(rows, weights.value, weights.error, strict=True):
        error = abs(weight) * scale.error + weight_error * (scale.value + scale.error)
        scaled = given(row) * rounded(weight * scale.value, error)
        shared = scaled if shared is None else shared + scaled
    own = given(heads) * rounded(scale.value, scale.error)
    parts = [bounded(shared), own]
    gradient = Bounded(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.error for part in parts]),
    )
    return gradient, norm_before


def combined_gradients(problem: Problem, device: str, **how: object) -> Bounded:
    """The gradients that the rule is given, [steps, size]; see combined_step."""
    each = [combined_step(problem, step, device, **how)[0] for step in range(problem.steps)]
    return Bounded(np.stack([g.value for g in each]), np.stack([g.error for g in each]))


def constant_weights(values: Sequence[float]) -> Callable[[int, Bounded], Bounded]:
    """Weights that no gradient changes."""
    return lambda step, gram: Bounded(np.array(values, dtype=np.float64))
