"""Gram matrix, report and the order of PCGrad, beside numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from aggregation import fresh_order, gram_matrix, looked_at, pcgrad_weights, philox
from compare import DOUBLE, assert_within
from gramstep_c import Report, named
from problems import ROWS, task_problem
from trajectories import aggregator_run, take_all_steps

SEED = 0xFEDCBA9876543210  # both halves of the key count


def test_philox_known_answers() -> None:
    """The three vectors of philox4x32-10 that its authors publish with Random123."""
    ones = 0xFFFFFFFF
    digits = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    answers = {
        (0, (0, 0, 0, 0)): [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        (2**64 - 1, (ones,) * 4): [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        (0x299F31D0A4093822, digits): [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    }
    for (key, counter), answer in answers.items():
        assert philox(key, counter) == answer


@pytest.mark.parametrize("tasks", [2, 3, 8, 17, 64])
@pytest.mark.parametrize("kind", ROWS)
def test_gram_matrix(kind: str, tasks: int, device: str) -> None:
    """The Gram matrix is within the bound of its sums; the rest of the report follows from it."""
    problem = task_problem(kind, tasks, steps=2)
    for step, report in enumerate(take_all_steps(aggregator_run(problem, device, "PCGrad"))):
        rows, _ = looked_at(problem, step)
        gram = gram_matrix(rows, device)
        assert_within(report.gram[0], gram.value, gram.error)
        np.testing.assert_array_equal(report.gram[0], report.gram[0].T)
        assert_report_follows(report)


def assert_report_follows(report: Report) -> None:
    """Norms, cosines, conflicts and the step's norm are those of the Gram matrix and weights."""
    tasks = report.numbers.tasks
    (gram,), (weights,), (norm,) = report.gram, report.weights, report.projection_norms
    norms = np.sqrt(np.diag(gram))
    np.testing.assert_allclose(report.gradient_norms[0], norms, rtol=DOUBLE)
    scale = np.outer(norms, norms)
    cosines = np.divide(gram, scale, out=np.zeros_like(scale), where=scale > 0)
    np.testing.assert_allclose(report.cosines[0], cosines, rtol=DOUBLE)
    conflicts = (report.cosines[0][np.triu_indices(tasks, 1)] < 0).mean()
    np.testing.assert_allclose(report.numbers.conflict_rate, conflicts, rtol=DOUBLE)
    # Terms of a sum that cancels are each rounded: relative to them, not to the sum.
    terms = np.abs(gram) @ np.abs(weights)
    np.testing.assert_array_less(
        np.abs(report.dots[0] - gram @ weights), tasks * DOUBLE * terms + np.finfo(float).tiny
    )
    squared = max(weights @ gram @ weights, 0.0)
    rounding = tasks * DOUBLE * (np.abs(weights) @ terms)
    assert abs(norm**2 - squared) <= rounding
    assert abs(report.numbers.norm**2 - squared) <= rounding
    lengths = norms * norm
    expected = np.divide(report.dots[0], lengths, out=np.zeros(tasks), where=lengths > 0)
    np.testing.assert_allclose(report.dot_cosines[0], expected, rtol=DOUBLE)


def test_order_matters(device: str) -> None:
    """Fixed and fresh order, two seeds and two steps tell each other apart in the checks above."""
    problem = task_problem("conflicting", 8, steps=2)
    problem.rows[1] = problem.rows[0]
    weights = []
    for options in ({"order": "fixed"}, {"seed": SEED}, {"seed": SEED ^ 1 << 32}):
        run = aggregator_run(problem, device, named("PCGrad", **options))
        weights.append([report.weights[0] for report in take_all_steps(run)])
    np.testing.assert_array_equal(weights[0][0], weights[0][1])
    for first, second in [(weights[0][0], weights[1][0]), (weights[1][0], weights[1][1])]:
        assert np.abs(first - second).max() > 1e-3
    assert np.abs(weights[1][0] - weights[2][0]).max() > 1e-3


def test_skipped_steps_draw_no_order(device: str) -> None:
    """The order depends on how many steps were taken, so that a skipped one leaves no trace."""
    problem = task_problem("conflicting", 8, steps=3)
    problem.rows[2] = problem.rows[1]
    problem.rows[1, 3, 0] = np.nan
    first, skipped, second = take_all_steps(
        aggregator_run(problem, device, named("PCGrad", seed=SEED))
    )
    assert [r.numbers.skipped for r in (first, skipped, second)] == [0, 1, 0]
    rows, _ = looked_at(problem, 2)
    expected = pcgrad_weights(fresh_order(SEED))(2, gram_matrix(rows, device))
    assert_within(second.weights[0], expected.value, expected.error)
