"""What aggregators' answers are held against: formulas, and exact conditions of optimality.

G is the Gram matrix, J the rows; everything is in float64. Two solutions of a convex problem are
compared by bounds that follow from how far each is from optimal, never by a tolerance of taste.
"""

from __future__ import annotations

import numpy as np

EPSILON = np.finfo(np.float64).eps


def lengths(gram: np.ndarray) -> np.ndarray:
    """The rows' lengths n."""
    return np.sqrt(np.diag(gram))


def cosines(gram: np.ndarray) -> np.ndarray:
    """The cosine matrix C; no row is zero."""
    n = lengths(gram)
    return gram / n[:, None] / n[None, :]


def condition(matrix: np.ndarray) -> float:
    """Largest over smallest eigenvalue of a positive definite matrix."""
    values = np.linalg.eigvalsh(matrix)
    assert values[0] > 0, values
    return values[-1] / values[0]


def on_simplex(v: np.ndarray) -> np.ndarray:
    """The Euclidean projection onto the simplex, by sorting (Held, Wolfe, Crowder 1974)."""
    order = np.sort(v)[::-1]
    shifts = (np.cumsum(order) - 1) / np.arange(1, v.size + 1)
    return np.maximum(v - shifts[np.flatnonzero(order > shifts)[-1]], 0)


def cagrad_bounds(gram: np.ndarray, c: float, w: np.ndarray, u: np.ndarray) -> tuple[float, float]:
    """CAGrad's objective at d = J^T w, and the dual's value at u: whatever d, that is no less.

    max min_i g_i . d subject to |d - g_0| <= c |g_0|  <=  u^T G b + c |g_0| |J^T u|
    """
    b = np.full(len(gram), 1 / len(gram))
    radius = c * np.sqrt(b @ gram @ b)
    return (gram @ w).min(), u @ gram @ b + radius * np.sqrt(max(u @ gram @ u, 0.0))


def fair_residual(gram: np.ndarray, w: np.ndarray, alpha: float) -> np.ndarray:
    """G w - w^(-1/alpha), which is 0 for FairGrad, and with alpha = 1 for Nash-MTL."""
    return gram @ w - w ** (-1 / alpha)


def fair_distance(
    gram: np.ndarray, w: np.ndarray, other: np.ndarray, alpha: float
) -> tuple[float, float]:
    """|w - other| in the norm of H, and what it is at most if other's residual were all of it.

    The residual's Jacobian along the way from w to other is at least
    H = G + diag(max(w, other)^(-1/alpha - 1) / alpha), so |w - other|_H <= |r(w) - r(other)|_H^-1.
    """
    largest = np.maximum(w, other)
    h = gram + np.diag(largest ** (-1 / alpha - 1) / alpha)
    r = fair_residual(gram, w, alpha) - fair_residual(gram, other, alpha)
    between = w - other
    return np.sqrt(between @ h @ between), np.sqrt(r @ np.linalg.solve(h, r))


def pseudo_inverse(matrix: np.ndarray, cutoff: float) -> np.ndarray:
    """Of a symmetric matrix, eigenvalues up to cutoff taken as 0."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > cutoff
    return vectors[:, kept] / values[kept] @ vectors[:, kept].T


def impartial(gram: np.ndarray, cutoff: float) -> np.ndarray:
    """IMTL-G's weights from C^+: v = D^-1 C^+ 1, w = v / sum(v)."""
    v = pseudo_inverse(cosines(gram), cutoff).sum(axis=1) / lengths(gram)
    return v / v.sum()


def conflict_free(gram: np.ndarray, preference: np.ndarray, cutoff: float) -> np.ndarray:
    """ConFIG's weights: c = D^-1 C^+ p, w = c (1^T G c) / (c^T G c)."""
    c = pseudo_inverse(cosines(gram), cutoff) @ preference / lengths(gram)
    return c * (gram @ c).sum() / (c @ gram @ c)


def krum_scores(gram: np.ndarray, byzantine: int, power: int) -> np.ndarray:
    """The sums of the K - byzantine - 2 smallest distances to others; power 1 or 2."""
    squared = np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2 * gram
    distances = np.sqrt(np.maximum(squared, 0)) ** power
    tasks = len(gram)
    others = distances[~np.eye(tasks, dtype=bool)].reshape(tasks, tasks - 1)
    return np.sort(others, axis=1)[:, : tasks - byzantine - 2].sum(axis=1)
