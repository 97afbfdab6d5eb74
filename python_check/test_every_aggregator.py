"""What holds for every aggregator through the C ABI: promises, state, projections, scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from answers import SAMPLERS, Asked, sample
from compare import DOUBLE
from everything import ALL, DRAWING, ELEMENTWISE, LOSSES, MOMENTUM, STATEFUL, TASKS, WEIGHTED
from gramstep_c import NonFinite, Projection, ReportArrays, aggregator_names, aggregator_text
from problems import Group, Problem, Tensor, make_problem
from rules import Rule
from trajectories import GramstepRun, to_host

STEPS = 6


def test_all_are_here() -> None:
    """The list of this folder is the library's, and texts come back with all their options."""
    assert sorted(ALL) == sorted(aggregator_names())
    assert len(set(aggregator_names())) == len(aggregator_names())
    for name in ALL:
        for text in (name, ALL[name]):
            whole = aggregator_text(text)
            assert whole.split("(")[0] == name
            assert aggregator_text(whole) == whole
            assert aggregator_text(f"  {whole} ".replace(",", " ,\t")) == whole
    assert aggregator_text("CAGrad(c=0.1)") != aggregator_text("CAGrad(c=0.2)")


def losses_of(step: int) -> np.ndarray | None:
    """Losses of a step, exact in fp32."""
    return 2.0 ** np.random.default_rng(step).integers(-3, 4, TASKS)


def losses_for(name: str, steps: int = STEPS) -> list[np.ndarray] | None:
    return [losses_of(step) for step in range(steps)] if name in LOSSES else None


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("name", ALL)
def test_promises(name: str, kind: str, device: str) -> None:
    """At full rank every promise is kept; the report's means are those of its steps."""
    steps = sample(kind, TASKS, STEPS)
    asked = Asked(ALL[name], *steps[0].shape, device)
    losses = losses_for(name) or [None] * STEPS
    found = [asked.ask(rows, given) for rows, given in zip(steps, losses, strict=True)]
    last = found[-1].report
    assert last.numbers.mean_steps == STEPS
    if name in ELEMENTWISE:
        assert np.isnan(last.weights).all()
        return
    for answer in found:
        assert np.isfinite(answer.weights).all()
        assert np.isfinite(answer.report.residuals).all()
        assert answer.report.iterations[0] >= 0
        if kind != "deficient":
            assert answer.kept, answer.report.residuals
    if not asked.optimizer.promise():
        assert all(answer.kept for answer in found)
    weights = np.mean([answer.weights for answer in found], axis=0)
    scale = np.abs([answer.weights for answer in found]).max()
    np.testing.assert_allclose(last.mean_weights[0], weights, rtol=0, atol=STEPS * DOUBLE * scale)
    cosines = np.mean([answer.report.cosines[0] for answer in found], axis=0)
    np.testing.assert_allclose(last.mean_cosines[0], cosines, rtol=0, atol=STEPS * DOUBLE)
    kept = np.mean([answer.kept for answer in found])
    np.testing.assert_allclose(last.mean_promises_kept, kept, rtol=DOUBLE)


def degenerate() -> dict[str, np.ndarray]:
    """Rows that leave a method without a solution, or with many."""
    rows = sample("normal", TASKS, 1)[0]
    zero, same, opposite = rows.copy(), rows.copy(), rows.copy()
    zero[3] = 0
    same[1:] = same[0]
    opposite[1::2] = -opposite[::2]
    tiny, huge = rows * 2.0**-55, rows * 2.0**50
    return {
        "a zero row": zero,
        "all zero": 0 * rows,
        "all the same": same,
        "opposite pairs": opposite,
        "tiny": tiny,
        "huge": huge,
        "far apart": rows * 2.0 ** np.linspace(-48, 48, TASKS).round()[:, None],
    }


@pytest.mark.parametrize("kind", degenerate())
@pytest.mark.parametrize("name", ALL)
def test_degenerate_rows(name: str, kind: str, device: str) -> None:
    """Weights and residuals are finite whatever the rows, and no step is skipped."""
    rows = degenerate()[kind]
    asked = Asked(ALL[name], *rows.shape, device)
    for step in range(3):
        answer = asked.ask(rows, losses_of(step) if name in LOSSES else None)
        assert answer.report.numbers.skipped == 0
        if name not in ELEMENTWISE:
            assert np.isfinite(answer.weights).all()
            assert np.isfinite(answer.report.residuals).all()
        for values in answer.state.values():
            assert np.isfinite(values).all()


@pytest.mark.parametrize("name", [name for name in ALL if name != "Krum"])
def test_one_task(name: str, device: str) -> None:
    """One task's gradient comes through, but for methods that scale it by its loss or momentum."""
    rows = sample("normal", TASKS, 1)[0][:1]
    text = {"TrimmedMean": "TrimmedMean(trim=0)", "Constant": "Constant(values=[1])"}
    asked = Asked(text.get(name, name), *rows.shape, device)
    answer = asked.ask(rows, [2.0] if name in LOSSES else None)
    ratio = answer.direction / np.where(rows[0] == 0, 1, rows[0])
    ratio = ratio[rows[0] != 0]
    assert (ratio > 0).all()
    if name not in (*LOSSES, *MOMENTUM, "CAGrad"):
        np.testing.assert_array_equal(answer.direction, rows[0])


# What a report says of every part.
REPORTED = [name for name, _ in ReportArrays._fields_ if name != "struct_size"]


def parted_problem(steps: int) -> Problem:
    """Three groups, four shared tensors; small integers for gradients."""
    groups = {"first": Group(), "second": Group(lr_scale=0.5)}
    tensors = (
        Tensor("a", (7, 19), "first"),
        Tensor("b", (130,), "second"),
        Tensor("c", (64,)),
        Tensor("d", (5, 5), "first"),
    )
    problem = make_problem(tensors, groups, TASKS, steps, seed=5)
    random = np.random.default_rng(6)
    shape = problem.rows.shape
    rows = random.integers(-9, 10, shape) + random.integers(-3, 4, (*shape[:2], 1))
    problem.rows = np.where(np.isnan(problem.rows), np.nan, rows).astype(np.float32)
    return problem


class Run:
    """A run of the parted problem by one aggregator."""

    def __init__(
        self, name: str, problem: Problem, device: str, text: str = "", **options: Any
    ) -> None:
        self.name, self.problem = name, problem
        rule = Rule("Adam", {"lr": 0.01})
        text = text or ALL[name]
        self.run = GramstepRun(problem, rule, device, aggregator=text, **options)
        self.optimizer = self.run.optimizer

    def take(self, steps: Sequence[int]) -> list[np.ndarray]:
        """Takes these steps of the problem and returns their weights."""
        found = []
        for step in steps:
            rows = [self.run.put(row) for row in self.problem.rows[step]]
            losses = None
            if self.name in LOSSES:
                losses = losses_of(step).astype(np.float32)
            self.optimizer.step(self.run.params, rows, losses=losses)
            found.append(self.optimizer.report().weights)
        return found

    def plan(self) -> dict[str, np.ndarray]:
        names = self.optimizer.plan_state_names()
        return {name: self.optimizer.plan_state(name) for name in names}

    def put(self, to: Any, values: Any) -> None:
        """Copies state or a momentum of another run into this one's."""
        if self.run.device == "cpu":
            np.asarray(to)[:] = np.asarray(values)
        else:
            torch.as_tensor(to, device="cuda").copy_(torch.as_tensor(values, device="cuda"))

    def everything(self) -> list[bytes]:
        states = [*self.run.states().values(), *self.plan().values()]
        return [each.tobytes() for each in states]


@pytest.mark.parametrize("projection", Projection)
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("name", ALL)
def test_resumes(name: str, smoothing: float, projection: Projection, device: str) -> None:
    """A copy of the state in the middle of a run goes on to the same bits; so does a plan's state
    that was overwritten and put back."""
    if name in ELEMENTWISE and smoothing:
        pytest.skip("no weights to smooth")
    problem = parted_problem(STEPS)
    options = {"smoothing": smoothing, "projection": projection}
    first, second = (Run(name, problem, device, **options) for _ in range(2))
    first.take(range(3))
    second.optimizer.copy_state(first.optimizer)
    second.run.params[:] = first.run.params
    expected = ["smoothed_weights"] if smoothing else []
    assert second.optimizer.plan_state_names()[-1:] == expected or not smoothing
    assert bool(set(first.plan()) - {"smoothed_weights"}) == (name in STATEFUL)
    for piece, values in first.plan().items():
        second.optimizer.set_plan_state(piece, np.full(values.size, 0.5))
        np.testing.assert_array_equal(second.optimizer.plan_state(piece), 0.5)
        second.optimizer.set_plan_state(piece, values)
    assert second.everything() == first.everything()
    weights = [run.take(range(3, STEPS)) for run in (first, second)]
    np.testing.assert_array_equal(*weights)
    assert second.everything() == first.everything()


@pytest.mark.parametrize("taken", [2, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("name", ALL)
def test_is_restored_by_name(name: str, smoothing: float, taken: int, device: str) -> None:
    """A fresh optimizer that is given all that was saved goes on to the bits of the run that was
    never interrupted, after an even and an odd number of steps."""
    if name in ELEMENTWISE and smoothing:
        pytest.skip("no weights to smooth")
    problem = parted_problem(STEPS)
    options = {"smoothing": smoothing, "projection": Projection.GROUP}
    whole, resumed = (Run(name, problem, device, **options) for _ in range(2))
    whole.optimizer.set_active("c", False)
    whole.take([0])
    whole.optimizer.set_active("c", True)
    whole.take(range(1, taken))
    segments = [tensor.name for tensor in problem.tensors]
    counts = [whole.optimizer.segment_steps(segment) for segment in segments]
    assert counts == [taken, taken, taken - 1, taken]
    resumed.optimizer.set_steps(whole.optimizer.report().numbers.steps, counts)
    resumed.run.params[:] = whole.run.params
    for state in whole.optimizer.state_names():
        resumed.put(resumed.optimizer.state(state), whole.optimizer.state(state))
    for piece, values in whole.plan().items():
        resumed.optimizer.set_plan_state(piece, values)
    for task in range(TASKS if name in MOMENTUM else 0):
        momenta = (each.optimizer.task_momentum(task) for each in (resumed, whole))
        resumed.put(*momenta)
    assert resumed.everything() == whole.everything()
    weights = [run.take(range(taken, STEPS)) for run in (whole, resumed)]
    np.testing.assert_array_equal(*weights)
    assert resumed.everything() == whole.everything()


@pytest.mark.parametrize("projection", [Projection.GROUP, Projection.SEGMENT])
@pytest.mark.parametrize("name", [name for name in WEIGHTED if name != "Random"])
def test_parts_are_on_their_own(name: str, projection: Projection, device: str) -> None:
    """Projection by group or segment is an optimizer for every part."""
    text = ALL[name]
    if name in DRAWING:  # which depends on the part's number
        text = f"{name}(order=fixed)"
    problem = parted_problem(STEPS)
    whole = Run(name, problem, device, text, projection=projection)
    together = whole.take(range(STEPS))
    tensors = {tensor.name: tensor for tensor in problem.tensors}
    parts = [["a", "d"], ["b"], ["c"]] if projection == Projection.GROUP else [[n] for n in "abcd"]
    assert together[0].shape == (len(parts), TASKS)
    report = whole.optimizer.report()
    squared = (report.projection_norms**2).sum()
    np.testing.assert_allclose(report.numbers.norm**2, squared, rtol=TASKS * DOUBLE)
    for names in parts:
        # Momenta's products are not exact, and an fp32 sum does not go on beyond a gap.
        if name in MOMENTUM and len(names) > 1:
            continue
        own = tuple(tensors[each] for each in names)
        part = make_problem(own, problem.groups, TASKS, STEPS)
        places = [problem.layout.segment(each) for each in names]
        for mine, theirs in zip(part.places, places, strict=True):
            part.params[mine] = problem.params[theirs]
            part.rows[:, :, mine] = problem.rows[:, :, theirs]
        alone = Run(name, part, device, text)
        weights = alone.take(range(STEPS))
        for mine, theirs in zip(part.places, places, strict=True):
            np.testing.assert_array_equal(
                to_host(alone.run.params)[mine], to_host(whole.run.params)[theirs]
            )
        expected = alone.optimizer.report()
        (number,) = [p for p, gram in enumerate(report.gram) if (gram == expected.gram[0]).all()]
        for step in range(STEPS):
            np.testing.assert_array_equal(together[step][number], weights[step][0])
        for each in REPORTED:
            np.testing.assert_array_equal(
                getattr(report, each)[number], getattr(expected, each)[0], err_msg=each
            )


@pytest.mark.parametrize("name", DRAWING[:3])
def test_parts_draw_apart(name: str, device: str) -> None:
    """No two parts see the same random numbers."""
    problem = parted_problem(1)
    same = np.random.default_rng(7).integers(-9, 10, (TASKS, 25))
    for place in problem.places:
        problem.rows[0, :, place] = 0
        problem.rows[0, :, place.start : place.start + 25] = same
    run = Run(name, problem, device, projection=Projection.SEGMENT)
    (weights,) = run.take([0])
    assert len(set(map(tuple, weights))) == len(weights)


@pytest.mark.parametrize("name", ALL)
def test_loss_scale_changes_no_bit(name: str, device: str) -> None:
    """A power of two on gradients and loss scale, and back."""
    problem, scaled = parted_problem(STEPS), parted_problem(STEPS)
    scaled.rows *= np.float32(1024)
    plain = Run(name, problem, device)
    other = Run(name, scaled, device, loss_scale=1024.0)
    np.testing.assert_array_equal(plain.take(range(STEPS)), other.take(range(STEPS)))
    assert plain.everything() == other.everything()


@pytest.mark.parametrize("name", ALL)
def test_skipped_steps_leave_no_trace(name: str, device: str) -> None:
    """A gradient that is not finite changes neither parameters nor any state."""
    problem = parted_problem(4)
    problem.rows[2, 1, problem.layout.segment("c").start] = np.inf
    run, other = (Run(name, problem, device, non_finite=NonFinite.SKIP) for _ in range(2))
    run.take([0, 1])
    before = run.everything()
    run.take([2])
    assert run.optimizer.report().numbers.skipped == 1
    assert run.everything() == before
    np.testing.assert_array_equal(run.take([3]), other.take([0, 1, 3])[2:])
    assert run.everything() == other.everything()


# Rows that are scaled together leave w alone; these have rates or targets beside G as it is.
OWN_SCALE = ["FairGrad", "MoDo", "MoCo"]


@pytest.mark.parametrize("name", [name for name in WEIGHTED if name not in OWN_SCALE])
def test_scale_of_all_rows(name: str, device: str) -> None:
    """Powers of two, so that nothing rounds otherwise: the same weights to the bit."""
    for rows in sample("normal", TASKS, 2):
        losses = losses_for(name, 2)
        expected, scaled = (
            answers_of(name, [rows, rows], factor, device, losses) for factor in (1.0, 2.0**-20)
        )
        np.testing.assert_allclose(scaled, expected, rtol=DOUBLE * TASKS)


def answers_of(
    name: str, steps: list[np.ndarray], factor: float, device: str, losses: Any
) -> list[np.ndarray]:
    # Nash-MTL's clip is to a length, whatever the rows'.
    text = {"NashMTL": "NashMTL(max_norm=0)"}.get(name, ALL[name])
    asked = Asked(text, *steps[0].shape, device)
    given = losses or [None] * len(steps)
    pairs = zip(steps, given, strict=True)
    return [asked.ask(factor * rows, values).weights for rows, values in pairs]
