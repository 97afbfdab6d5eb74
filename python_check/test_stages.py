"""The stages alone: Gram matrix, weights of many matrices at once, and combination."""

from __future__ import annotations

from ctypes import byref, c_int64, c_void_p

import numpy as np
import pytest
import torch

import gramstep_c
from answers import EPSILON, SAMPLERS, Asked, sample
from everything import ALL, DRAWING, ELEMENTWISE, LOSSES, MOMENTUM, TASKS
from failures import assert_fails, assert_raises
from gramstep_aggregation import Aggregation
from gramstep_c import Status, library
from methods import condition

ALONE = [name for name in ALL if name not in (*ELEMENTWISE, *MOMENTUM)]
BATCH = 5
STEPS = 3


def losses_of(step: int) -> np.ndarray:
    return (2.0 ** np.random.default_rng(step).integers(-3, 4, TASKS)).astype(np.float32)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("name", ALONE)
def test_stages_are_the_optimizers(name: str, kind: str) -> None:
    """Gram matrix, weights, direction and state are the optimizer's, bit for bit in every step."""
    steps = sample(kind, TASKS, STEPS)
    size = steps[0].shape[1]
    alone, asked = Aggregation(ALL[name], TASKS, size), Asked(ALL[name], TASKS, size, "cpu")
    for step, rows in enumerate(steps):
        losses = losses_of(step) if name in LOSSES else None
        answer = asked.ask(rows, losses)
        floats = [row.astype(np.float32) for row in rows]
        gram = alone.gram(floats)
        np.testing.assert_array_equal(gram, answer.gram)
        (weights,) = alone.weights(gram[None], losses)
        np.testing.assert_array_equal(weights, answer.weights)
        np.testing.assert_array_equal(alone.combine(floats, weights), answer.direction)
        iterations, residuals = alone.solutions()
        np.testing.assert_array_equal(iterations, answer.report.iterations)
        np.testing.assert_array_equal(residuals, answer.report.residuals)
        for piece, values in answer.state.items():
            np.testing.assert_array_equal(alone.plan_state(piece), values)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("name", ALONE)
def test_batches_are_matrices_on_their_own(name: str, smoothing: float) -> None:
    """Each matrix of a batch has its own state; only draws depend on where it stands."""
    steps = np.array([[rows @ rows.T for rows in sample("normal", TASKS, BATCH)]] * STEPS)
    steps *= np.linspace(1, 2, STEPS)[:, None, None, None]
    batch = Aggregation(ALL[name], TASKS, batch=BATCH, smoothing=smoothing)
    alone = [Aggregation(ALL[name], TASKS, smoothing=smoothing) for _ in range(BATCH)]
    for step, grams in enumerate(steps):
        losses = losses_of(step) if name in LOSSES else None
        weights = batch.weights(grams, losses)
        each = np.stack([a.weights(g[None], losses)[0] for a, g in zip(alone, grams, strict=True)])
        first = 1 if name in DRAWING else BATCH
        np.testing.assert_array_equal(weights[:first], each[:first])
        if name in DRAWING:
            assert (weights[1:] != each[1:]).any()


@pytest.mark.parametrize("name", ALONE)
def test_state_of_a_batch(name: str) -> None:
    """State that is put back goes on as it would have."""
    grams = np.stack([rows @ rows.T for rows in sample("normal", TASKS, BATCH)])
    losses = losses_of(0) if name in LOSSES else None
    one, other = (Aggregation(ALL[name], TASKS, batch=BATCH) for _ in range(2))
    names = state_names(name)
    for aggregation in (one, other):
        aggregation.weights(grams, losses)
    kept = {piece: one.plan_state(piece) for piece in names}
    for piece, values in kept.items():
        other.set_plan_state(piece, np.full(values.size, 0.25))
        other.set_plan_state(piece, values)
    np.testing.assert_array_equal(one.weights(grams, losses), other.weights(grams, losses))
    fresh = Aggregation(ALL[name], TASKS, batch=BATCH)
    fresh.set_steps(one.steps())
    assert fresh.steps() == 2
    for piece in names:
        fresh.set_plan_state(piece, one.plan_state(piece))
    np.testing.assert_array_equal(one.weights(grams, losses), fresh.weights(grams, losses))
    assert_raises(lambda: one.set_steps(-1), "set_steps", "-1")
    assert_raises(lambda: one.plan_state("nothing"), "nothing")
    assert_raises(lambda: one.set_plan_state("nothing", np.zeros(3)), "nothing")


def state_names(name: str) -> list[str]:
    """The names of the state of an optimizer with that aggregator."""
    return Asked(ALL[name], TASKS, 3, "cpu").optimizer.plan_state_names()


def test_doubles() -> None:
    """G of rows that fp32 does not hold, beside TorchJD."""
    torchjd = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    pytest.importorskip("quadprog", reason="TorchJD's solver is not installed")
    random = np.random.default_rng(0)
    rows = random.standard_normal((BATCH, TASKS, 3 * TASKS))
    grams = rows @ rows.transpose(0, 2, 1)
    for name in ("UPGrad", "DualProj", "AlignedMTL", "IMTLG"):
        weights = Aggregation(name, TASKS, batch=BATCH).weights(grams)
        for gram, ours in zip(grams, weights, strict=True):
            theirs = getattr(torchjd, name)().gramian_weighting(torch.from_numpy(gram)).numpy()
            magnified = np.abs(theirs).sum() / abs(theirs.sum())
            error = 16 * TASKS * EPSILON * condition(gram) * magnified
            assert np.linalg.norm(ours - theirs) <= error * np.linalg.norm(theirs)


def test_bad_stages() -> None:
    """Clear messages, and no state that advanced."""
    names = [("tasks", 0), ("tasks", gramstep_c.MAX_TASKS + 1), ("size", -1), ("batch", 0)]
    for name, value in names:
        options = {"tasks": 2, name: value}
        assert_raises(lambda options=options: Aggregation("Mean", **options), name)
    assert_raises(lambda: Aggregation("Mean", 2, smoothing=1.0), "smoothing")
    assert_raises(lambda: Aggregation("Mean", 2, struct_size=8), "struct_size")
    alone = Aggregation("MoDo", 3, 4)
    gram = 2.0 * np.eye(3)
    right = alone.weights(gram[None])
    state = alone.plan_state("weights")
    crooked, unfit = gram.copy(), gram.copy()
    crooked[0, 1], unfit[1, 1] = 0.5, np.nan
    assert_raises(lambda: alone.weights(crooked[None]), "symmetric")
    assert_raises(lambda: alone.weights(unfit[None]), "finite")
    assert_raises(lambda: alone.gram([np.zeros(4, np.float32)] * 2), "rows")
    np.testing.assert_array_equal(alone.plan_state("weights"), state)
    assert right.shape == (1, 3)


def test_null_arguments() -> None:
    alone, handle, count = Aggregation("Mean", 2, 4), c_void_p(), c_int64()
    room = np.zeros(4)
    calls = [
        ("options_init", "options", None),
        ("create", "aggregation", None, byref(alone.options)),
        ("create", "options", byref(handle), None),
        ("gram", "aggregation", None, None, 2, room.ctypes.data, None),
        ("gram", "rows", alone.handle, None, 2, room.ctypes.data, None),
        ("weights", "aggregation", None, room.ctypes.data, room.ctypes.data, None, 0, None),
        ("weights", "gram", alone.handle, None, room.ctypes.data, None, 0, None),
        ("weights", "weights", alone.handle, room.ctypes.data, None, None, 0, None),
        ("combine", "aggregation", None, None, 2, room.ctypes.data, room.ctypes.data, None),
        ("combine", "rows", alone.handle, None, 2, room.ctypes.data, room.ctypes.data, None),
        ("solutions", "aggregation", None, None, None, None),
        ("steps", "aggregation", None, byref(count), None),
        ("steps", "steps", alone.handle, None, None),
        ("set_steps", "aggregation", None, 1, None),
        ("plan_state", "aggregation", None, b"x", None, 0, None, None),
        ("plan_state", "name", alone.handle, None, None, 0, None, None),
        ("set_plan_state", "aggregation", None, b"x", None, 0, None),
        ("set_plan_state", "name", alone.handle, None, None, 0, None),
    ]
    for name, what, *arguments in calls:
        status = getattr(library, f"gramstep_aggregation_{name}")(*arguments)
        assert_fails(status, Status.INVALID_ARGUMENT, what, "null")
    assert handle.value is None
    library.gramstep_aggregation_destroy(None)
