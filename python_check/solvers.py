"""Other solvers of the aggregators' problems: SciPy's and CVXPY's, in float64."""

from __future__ import annotations

import cvxpy
import numpy as np
import scipy.optimize

from methods import on_simplex


def shortest_in_hull(rows: np.ndarray) -> np.ndarray:
    """MGDA's weights by Lawson and Hanson's least distance programming: exact but for rounding.

    min |J^T u|^2 + m^2 (1^T u - 1)^2 over u >= 0 has its minimum along the hull's shortest vector.
    """
    scale = np.linalg.norm(rows, axis=1).mean()
    system = np.vstack([rows.T / scale, np.ones(len(rows))])
    target = np.zeros(len(system))
    target[-1] = 1
    u, _ = scipy.optimize.nnls(system, target)
    return u / u.sum()


def cagrad_by_scipy(gram: np.ndarray, c: float) -> np.ndarray:
    """The dual's u by sequential quadratic programming, as the authors' code."""
    b = np.full(len(gram), 1 / len(gram))
    scaled = gram / np.trace(gram)
    radius = c * np.sqrt(b @ scaled @ b)

    def dual(u: np.ndarray) -> float:
        return u @ scaled @ b + radius * np.sqrt(u @ scaled @ u + 1e-16)

    on = {"type": "eq", "fun": lambda u: u.sum() - 1}
    bounds = [(0, 1)] * len(gram)
    found = scipy.optimize.minimize(dual, b, bounds=bounds, constraints=on, tol=1e-12)
    return on_simplex(found.x)


def fair_by_cvxpy(rows: np.ndarray, alpha: float) -> np.ndarray:
    """The minimum of |J^T w|^2 / 2 - sum phi(w), phi'(w) = w^(-1/alpha), over w > 0."""
    start = (rows**2).sum(axis=1) ** (-alpha / (1 + alpha))
    # w = start z: with s_i = start_i^(1 - 1/alpha), phi is s_i times the same of z.
    factor = start ** (1 - 1 / alpha)
    z = cvxpy.Variable(len(rows))
    if alpha == 1:
        utility = cvxpy.sum(cvxpy.log(z))
    else:
        power = 1 - 1 / alpha
        utility = factor / power @ cvxpy.power(z, power)
    shrunk = (start[:, None] * rows).T
    scale = factor.max()
    objective = cvxpy.sum_squares(shrunk / np.sqrt(scale) @ z) / 2 - utility / scale
    cvxpy.Problem(cvxpy.Minimize(objective)).solve(cvxpy.CLARABEL)
    return start * z.value
