"""Every stateless aggregator's weights, beside TorchJD's and SciPy's for the same Gram matrix.

TorchJD gets it in float64. Where the answer is unique and both solve exactly, weights are compared
within what rounding can do; where TorchJD iterates or its solver has a tolerance, by bounds that
follow from how far its own answer is from optimal.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from answers import FULL_RANK, SAMPLERS, answer_to, sample
from gramstep_c import named
from methods import (
    EPSILON,
    cagrad_bounds,
    condition,
    conflict_free,
    cosines,
    fair_distance,
    fair_residual,
    impartial,
    krum_scores,
    lengths,
)

torchjd = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
for module in ("scipy", "cvxpy", "ecos", "quadprog"):
    pytest.importorskip(module, reason=f"TorchJD's solvers need {module}, which is not installed")
solvers = pytest.importorskip("solvers")

TASKS = [2, 3, 8, 17, 64]

# Roundings that count of a solve by elimination or eigenvectors, a task: a product, a sum and a
# quotient in each of ours and theirs, on the way to the answer and back.
SOLVE_ROUNDINGS = 16

# The ridge on the cosine matrix that MGDA's and CAGrad's headers document.
RIDGE = 1e-8

# What TorchJD's quadratic programs are regularised by, relative to tr G; gramstep's default.
TORCHJD_REGULARISATION = 1e-4

# The relative residual that FairGrad's and Nash-MTL's Newton steps end at: that of double, times
# what a task's terms, which cancel, and up to 64 tasks make of it.
ROOT_TOLERANCE = 1e-9

# The root of CLARABEL's tolerance of 1e-8 on the objective, with room for K terms: its answers are
# near enough to tell.
CVXPY_DISTANCE = 1e-3

# Eigenvalues of the cosine matrix up to K times this count as 0.
FP32_ROUNDING = 2.0**-23


def theirs(weighting: torch.nn.Module, gram: np.ndarray) -> np.ndarray:
    """The weights that a TorchJD weighting of Gram matrices gives."""
    return weighting(torch.from_numpy(gram)).numpy()


def solve_error(tasks: int, condition_number: float) -> float:
    """How far two solutions of one system may differ, relative to the solution."""
    return SOLVE_ROUNDINGS * tasks * EPSILON * condition_number


def assert_close(got: np.ndarray, expected: np.ndarray, relative: float) -> None:
    """|got - expected| <= relative |expected|, as vectors."""
    distance = np.linalg.norm(got - expected)
    assert distance <= relative * np.linalg.norm(expected), (distance, got, expected)


def preference_of(tasks: int) -> np.ndarray:
    """Some preference, exact in fp32."""
    return 1.0 + np.arange(tasks) % 3


@pytest.mark.parametrize("preferred", [False, True])
@pytest.mark.parametrize("method", ["DualProj", "UPGrad"])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_cone_projections(kind: str, tasks: int, method: str, preferred: bool, device: str) -> None:
    """Strictly convex programs, solved exactly by both."""
    preference = preference_of(tasks)
    text = named(method, preference=preference) if preferred else method
    vector = torch.from_numpy(preference) if preferred else None
    for rows in sample(kind, tasks, 2):
        answer = answer_to(text, rows, device)
        expected = theirs(getattr(torchjd, method)(vector).gramian_weighting, answer.gram)
        matrix = answer.gram / np.trace(answer.gram) + TORCHJD_REGULARISATION * np.eye(tasks)
        assert_close(answer.weights, expected, solve_error(tasks, condition(matrix)))
        # No task is opposed but for the regularisation.
        opposed = TORCHJD_REGULARISATION * np.trace(answer.gram) * np.abs(answer.weights)
        assert (answer.gram @ answer.weights >= -2 * opposed).all()
        assert answer.kept


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_mgda(kind: str, tasks: int, device: str) -> None:
    """TorchJD's Frank-Wolfe stops short of the minimum by no more than its own duality gap."""
    for rows in sample(kind, tasks, 2):
        answer = answer_to("MGDA", rows, device)
        gram, w = answer.gram, answer.weights
        assert (w >= 0).all()
        assert abs(w.sum() - 1) <= tasks * EPSILON
        # Minimising |d|^2 + ridge |D w|^2, ours is above the minimum by the ridge at most.
        best = solvers.shortest_in_hull(rows)
        ridge = RIDGE * ((lengths(gram) * best) ** 2).sum()
        rounding = SOLVE_ROUNDINGS * tasks * EPSILON * np.diag(gram).max()
        squared, least = w @ gram @ w, best @ gram @ best
        assert squared <= least + ridge + rounding
        assert squared >= least - rounding
        approximate = theirs(torchjd.MGDA().gramian_weighting, gram)
        along = gram @ approximate
        gap = 2 * (approximate @ along - along.min())
        assert squared <= approximate @ along + ridge + rounding
        assert squared >= approximate @ along - gap - rounding
        # |d|^2 grows by the square of the distance from the shortest d.
        between = w - approximate
        assert between @ gram @ between <= 2 * (gap + ridge + rounding)
        assert answer.kept


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")
@pytest.mark.parametrize("c", [0.0, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_cagrad(kind: str, tasks: int, c: float, device: str) -> None:
    """The dual values of TorchJD's and SciPy's solutions are ceilings, which ours must reach.

    Convention: where the hull of the rows is nearly at 0, TorchJD's weights are all 0.
    """
    rows = sample(kind, tasks, 1)[0]
    answer = answer_to(named("CAGrad", c=c), rows, device)
    gram, n, v = answer.gram, lengths(answer.gram), answer.weights - 1 / tasks
    g0 = np.sqrt(gram.mean())
    rounding = SOLVE_ROUNDINGS * tasks * EPSILON * n.max() ** 2 * (1 + c)
    if c == 0:
        assert (v == 0).all()
        return
    # The ridge makes an active task's g_i . d smaller by ridge n_i^2 v_i, and no dual value less.
    slack = RIDGE * (n**2 * v).max() + rounding
    assert v.min() >= -EPSILON
    assert np.sqrt(v @ gram @ v) <= c * g0 * (1 + answer.report.residuals[0]) + rounding / n.max()
    others = [theirs(torchjd.CAGrad(c=c).gramian_weighting, gram) - 1 / tasks]
    duals = [solvers.cagrad_by_scipy(gram, c), solvers.shortest_in_hull(rows)]
    duals += [u / u.sum() for u in [v, *others] if u.sum() > 0]
    bounds = [cagrad_bounds(gram, c, answer.weights, u) for u in duals]
    reached, least = bounds[0][0], min(ceiling for _, ceiling in bounds)
    assert reached <= least + rounding
    assert reached >= least - slack
    assert answer.kept
    for rescale, divisor in [("one_plus_c", 1 + c), ("one_plus_c_squared", 1 + c * c)]:
        scaled = answer_to(named("CAGrad", c=c, rescale=rescale), rows, device)
        np.testing.assert_allclose(scaled.weights * divisor, answer.weights, rtol=4 * EPSILON)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", FULL_RANK)
def test_fairgrad(kind: str, tasks: int, alpha: float, device: str) -> None:
    """TorchJD's least squares and CVXPY's program are as far from ours as their residuals say."""
    rows = sample(kind, tasks, 1)[0]
    answer = answer_to(named("FairGrad", alpha=alpha), rows, device)
    gram, w = answer.gram, answer.weights
    assert (w > 0).all()
    assert answer.kept
    relative = fair_residual(gram, w, alpha) * w ** (1 / alpha)
    assert np.abs(relative).max() <= ROOT_TOLERANCE
    other = theirs(torchjd.FairGrad(alpha).gramian_weighting, gram)
    if (other > 0).all():
        distance, allowed = fair_distance(gram, w, other, alpha)
        assert distance <= allowed * (1 + ROOT_TOLERANCE) + rounding_of(gram, w)
    distance, allowed = fair_distance(gram, w, solvers.fair_by_cvxpy(rows, alpha), alpha)
    assert distance <= allowed * (1 + ROOT_TOLERANCE) + rounding_of(gram, w)
    assert allowed <= CVXPY_DISTANCE * np.sqrt(w @ gram @ w)


def rounding_of(gram: np.ndarray, w: np.ndarray) -> float:
    """What rounding does to |w|_H, from above."""
    return SOLVE_ROUNDINGS * len(w) * EPSILON * np.sqrt(w @ np.abs(gram) @ w + 1)


# CVXPY says of some problems that TorchJD asks too much of it.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", FULL_RANK)
def test_nash_mtl(kind: str, tasks: int, max_norm: float, device: str) -> None:
    """TorchJD stops its convex programs early; it is as far from ours as its own residual says."""
    rows = sample(kind, tasks, 1)[0]
    answer = answer_to(named("NashMTL", max_norm=max_norm), rows, device)
    gram = answer.gram / np.linalg.norm(answer.gram)
    w = answer_to(named("NashMTL", max_norm=0), rows, device).weights
    assert np.abs(w * (gram @ w) - 1).max() <= ROOT_TOLERANCE
    assert answer.kept
    length = np.sqrt(w @ answer.gram @ w)
    shrunk = max_norm / length if 0 < max_norm < length else 1.0
    np.testing.assert_allclose(answer.weights, w * shrunk, rtol=tasks * SOLVE_ROUNDINGS * EPSILON)
    other = torchjd.NashMTL(tasks, 0.0, 1, 20).weighting(torch.from_numpy(rows)).numpy()
    if (other > 0).all():
        distance, allowed = fair_distance(gram, w, other.astype(np.float64), 1.0)
        assert distance <= allowed * (1 + ROOT_TOLERANCE) + rounding_of(gram, w)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", FULL_RANK)
def test_imtl_g(kind: str, tasks: int, device: str) -> None:
    """At full rank TorchJD's G^+ n is our D^-1 C^+ 1."""
    for rows in sample(kind, tasks):
        answer = answer_to("IMTLG", rows, device)
        gram, w = answer.gram, answer.weights
        # A sum that cancels magnifies what rounding did to its terms.
        magnified = np.abs(w).sum() / abs(w.sum())
        error = solve_error(tasks, condition(gram)) * magnified
        assert_close(w, theirs(torchjd.IMTLG().gramian_weighting, gram), error)
        along = gram @ w / lengths(gram)
        spread = SOLVE_ROUNDINGS * tasks * EPSILON * condition(cosines(gram)) * magnified
        np.testing.assert_allclose(along, along.mean(), rtol=spread)


@pytest.mark.parametrize("tasks", TASKS)
def test_imtl_g_below_full_rank(tasks: int, device: str) -> None:
    """Convention: C^+ in the place of TorchJD's G^+: no row's scale changes the others' part."""
    for rows in sample("deficient", tasks):
        answer = answer_to("IMTLG", rows, device)
        cutoff = tasks * FP32_ROUNDING
        if not answer.weights.any():
            assert_opposite(answer.gram)
            continue
        w = impartial(answer.gram, cutoff)
        smallest = smallest_above(cosines(answer.gram), cutoff)
        error = solve_error(tasks, tasks / smallest) * np.abs(w).sum() / abs(w.sum())
        assert_close(answer.weights, w, error)


def assert_opposite(gram: np.ndarray) -> None:
    """There are two rows, and they are opposite."""
    assert gram.shape == (2, 2)
    assert gram[0, 1] < 0
    assert gram[0, 1] ** 2 == gram[0, 0] * gram[1, 1]


def smallest_above(matrix: np.ndarray, cutoff: float) -> float:
    """The smallest eigenvalue above the cutoff."""
    values = np.linalg.eigvalsh(matrix)
    return values[values > cutoff].min()


@pytest.mark.parametrize("scale", ["min", "median", "mean"])
@pytest.mark.parametrize("preferred", [False, True])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", FULL_RANK)
def test_aligned_mtl(kind: str, tasks: int, preferred: bool, scale: str, device: str) -> None:
    """TorchJD's "rmse" is our mean; its cutoff is that of float64, ours by default that of fp32."""
    mode = {"mean": "rmse"}.get(scale, scale)
    preference = preference_of(tasks) if preferred else np.full(tasks, 1 / tasks)
    options = {"scale": scale, "rank_tolerance": 2.0**-52}
    if preferred:
        options["preference"] = preference
    for rows in sample(kind, tasks, 2):
        answer = answer_to(named("AlignedMTL", **options), rows, device)
        weighting = torchjd.AlignedMTL(torch.from_numpy(preference), mode).gramian_weighting
        assert_close(
            answer.weights,
            theirs(weighting, answer.gram),
            solve_error(tasks, condition(answer.gram)),
        )


@pytest.mark.parametrize("tasks", TASKS)
def test_aligned_mtl_below_full_rank(tasks: int, device: str) -> None:
    """The pseudo-inverse root without the eigenvalues that are rounding."""
    for rows in sample("deficient", tasks):
        answer = answer_to("AlignedMTL", rows, device)
        values, vectors = np.linalg.eigh(answer.gram)
        kept = values > tasks * FP32_ROUNDING * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        expected = (
            np.sqrt(values[0]) * vectors / np.sqrt(values) @ vectors.T @ np.full(tasks, 1 / tasks)
        )
        error = solve_error(tasks, values[-1] / values[0])
        assert np.abs(answer.weights - expected).max() <= error
        assert answer.kept


@pytest.mark.parametrize("preferred", [False, True])
@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_config(kind: str, tasks: int, preferred: bool, device: str) -> None:
    """TorchJD inverts the unit rows, we their cosines: the condition number squared."""
    preference = preference_of(tasks) if preferred else np.ones(tasks)
    text = named("ConFIG", preference=preference) if preferred else "ConFIG"
    for rows in sample(kind, tasks):
        answer = answer_to(text, rows, device)
        vector = torch.from_numpy(preference) if preferred else None
        expected = torchjd.ConFIG(vector)(torch.from_numpy(rows)).numpy()
        cutoff = tasks * FP32_ROUNDING
        units = cosines(answer.gram)
        error = solve_error(tasks, tasks / smallest_above(units, cutoff))
        d = answer.weights @ rows
        scale = np.abs(answer.weights) @ lengths(answer.gram)
        if not answer.weights.any():
            assert_opposite(answer.gram)
            continue
        assert np.linalg.norm(d - expected) <= error * scale
        assert_close(answer.weights, conflict_free(answer.gram, preference, cutoff), error)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("byzantine", "selected"), [(0, 1), (1, 2), (3, 5)])
@pytest.mark.parametrize("tasks", [3, 8, 17, 64])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_krum(
    kind: str, tasks: int, byzantine: int, selected: int, power: int, device: str
) -> None:
    """The same scores are selected as TorchJD selects; among equal ones the choice is free.

    Convention: the paper's distances are squared; TorchJD's are not, nor are ours by default.
    """
    if tasks < byzantine + 3 or tasks < selected:
        pytest.skip("too few tasks for these options")
    distance = {1: "plain", 2: "squared"}[power]
    options = {"byzantine": byzantine, "selected": selected, "distance": distance}
    for rows in sample(kind, tasks):
        answer = answer_to(named("Krum", **options), rows, device)
        scores = krum_scores(answer.gram, byzantine, power)
        ours = answer.weights > 0
        assert (answer.weights[ours] == 1 / selected).all()
        assert ours.sum() == selected
        rounding = SOLVE_ROUNDINGS * tasks * EPSILON * scores.max()
        np.testing.assert_allclose(
            np.sort(scores[ours]), np.sort(scores)[:selected], rtol=0, atol=rounding
        )
        if power == 1:
            weighting = torchjd.Krum(byzantine, selected).gramian_weighting
            chosen = theirs(weighting, answer.gram) > 0
            np.testing.assert_allclose(
                np.sort(scores[ours]), np.sort(scores[chosen]), rtol=0, atol=rounding
            )
