"""Aggregators' options, losses and state that are wrong: a clear message, and nothing changed."""

from __future__ import annotations

from ctypes import byref, c_size_t, create_string_buffer
from typing import Any

import numpy as np
import pytest

import gramstep_c
from answers import Asked, sample
from everything import ALL, ELEMENTWISE, LOSSES, MOMENTUM, POSITIVE_LOSSES, TASKS
from failures import assert_fails, assert_raises
from gramstep_aggregation import Aggregation
from gramstep_c import Status, library

BAD_TEXTS = {
    "name": ["", "pcgrad", "Nothing", "1", "()"],
    "shape": ["Mean(", "Mean)", "Mean()x", "CAGrad(c)", "CAGrad(c=)", "CAGrad(=1)", "CAGrad(c=1"],
    "option": ["Mean(c=1)", "CAGrad(d=1)"],
    "value": ["CAGrad(c=x)", "CAGrad(c=[1])", "CAGrad(rescale=2)", "Krum(selected=1.5)"],
    "list": ["UPGrad(preference=1)", "UPGrad(preference=[1,)", "UPGrad(preference=[1 2])"],
}


def make(text: str, tasks: int = TASKS, **options: Any) -> gramstep_c.Optimizer:
    layout = gramstep_c.Layout()
    layout.add("x", (3,))
    return gramstep_c.Optimizer(layout, aggregator=text, tasks=tasks, **options)


@pytest.mark.parametrize("what", BAD_TEXTS)
def test_bad_texts(what: str) -> None:
    """Neither an optimizer nor an aggregation nor a text is made of them."""
    for text in BAD_TEXTS[what]:
        assert_raises(lambda text=text: gramstep_c.aggregator_text(text))
        assert_raises(lambda text=text: make(text))
        assert_raises(lambda text=text: Aggregation(text, TASKS))


def test_text_without_room() -> None:
    """The size that it takes is told, and nothing is written."""
    needed, room = c_size_t(), create_string_buffer(b"?" * 8)
    call = library.gramstep_aggregator_text
    assert call(b"CAGrad", None, 0, byref(needed)) == Status.OK
    status = call(b"CAGrad", room, 8, None)
    assert_fails(status, Status.INVALID_ARGUMENT, "size", "8", str(needed.value))
    assert room.raw == b"?" * 8 + b"\0"
    assert library.gramstep_aggregator_name(-1) is None
    assert library.gramstep_aggregator_name(library.gramstep_aggregator_count()) is None


# Options out of range for eight tasks, and a word of the message.
BAD_OPTIONS = [
    *[
        (f"{name}(preference={values})", "preference")
        for name in ("DualProj", "UPGrad", "ConFIG", "AlignedMTL", "STCH", "MomentumConFIG")
        for values in ("[1]", f"{[1] * 7}", f"{[1] * 9}", "[1,1,1,1,1,1,1,0]", "[-1,1,1,1,1,1,1,1]")
    ],
    *[(f"UPGrad(preference=[1,1,1,1,1,1,1,{bad}])", "preference") for bad in ("nan", "inf")],
    ("UPGrad(epsilon=-1)", "epsilon"),
    ("CAGrad(c=-1)", "CAGrad.c"),
    ("CAGrad(c=nan)", "CAGrad.c"),
    ("FairGrad(alpha=0)", "alpha"),
    ("NashMTL(max_norm=-1)", "max_norm"),
    ("NashMTL(update_every=0)", "update_every"),
    ("AlignedMTL(rank_tolerance=1)", "rank_tolerance"),
    ("Krum(byzantine=6)", "byzantine"),
    ("Krum(selected=9)", "selected"),
    ("SDMGrad(momentum=1)", "momentum"),
    ("SDMGrad(iterations=-1)", "iterations"),
    ("MoDo(gamma=-1)", "gamma"),
    ("MoCo(beta=2)", "beta"),
    ("DBMTL(beta=1)", "beta"),
    ("DBMTL(epsilon=0)", "epsilon"),
    ("GradVac(beta=2)", "beta"),
    ("DWA(temperature=0)", "temperature"),
    ("DWA(period=0)", "period"),
    ("STCH(mu=0)", "mu"),
    ("STCH(ideal=[1])", "ideal"),
    ("FAMO(min_losses=[1])", "min_losses"),
    ("GradNorm(initial_losses=[0,1,1,1,1,1,1,1])", "initial_losses"),
    ("GradDrop(leak=[0.5])", "leak"),
    ("GradDrop(leak=[2,0,0,0,0,0,0,0])", "leak"),
    ("TrimmedMean(trim=4)", "trim"),
    ("TrimmedMean(trim=-1)", "trim"),
    ("UncertaintyWeighting(initial=90)", "initial"),
    ("Constant(values=[1,2])", "Constant"),
]


@pytest.mark.parametrize(("text", "word"), BAD_OPTIONS)
def test_bad_options(text: str, word: str) -> None:
    """They can be read as text, but no optimizer can be made of them."""
    gramstep_c.aggregator_text(text)
    assert_raises(lambda: make(text), word, "got", "expected")
    if text.split("(")[0] not in (*ELEMENTWISE, *MOMENTUM):
        assert_raises(lambda: Aggregation(text, TASKS), word)


def test_bad_company() -> None:
    """Options that do not go together."""
    for tasks in (1, 2):
        assert_raises(lambda tasks=tasks: make("Krum", tasks), "Krum")
    for name in ELEMENTWISE:
        assert_raises(lambda name=name: make(name, clip_norm=1.0), "clip_norm", name)
        assert_raises(lambda name=name: make(name, smoothing=0.5), "smoothing", name)
    for name in (*ELEMENTWISE, *MOMENTUM):
        assert_raises(lambda name=name: Aggregation(name, TASKS), name)


class Taken:
    """An optimizer that took a step; knows whether anything has changed since."""

    def __init__(self, name: str, device: str) -> None:
        self.rows = sample("normal", TASKS, 1)[0]
        self.losses = np.full(TASKS, 2.0)
        self.asked = Asked(ALL[name], *self.rows.shape, device)
        self.before = self.step()

    def step(self, *losses: Any) -> list[bytes]:
        """A step with these losses (or None), or with the right ones."""
        answer = self.asked.ask(self.rows, losses[0] if losses else self.losses)
        return parts(answer.report, answer.state)

    def assert_unchanged(self) -> None:
        optimizer = self.asked.optimizer
        report = optimizer.report()
        state = {name: optimizer.plan_state(name) for name in optimizer.plan_state_names()}
        assert self.before == parts(report, state)


def parts(report: gramstep_c.Report, state: dict[str, np.ndarray]) -> list[bytes]:
    arrays = [report.weights, report.gram, report.mean_weights, *state.values()]
    return [bytes(report.numbers), *[each.tobytes() for each in arrays]]


@pytest.mark.parametrize("name", LOSSES)
def test_bad_losses(name: str, device: str) -> None:
    """Missing, too few, too many, not finite; not positive where that is needed."""
    taken = Taken(name, device)
    bad = [None, taken.losses[1:], np.full(TASKS + 1, 2.0)]
    wrong = [np.nan, np.inf, -np.inf, *([0.0, -1.0] if name in POSITIVE_LOSSES else [])]
    for value in wrong:
        losses = taken.losses.copy()
        losses[5] = value
        bad.append(losses)
    for losses in bad:
        assert_raises(lambda losses=losses: taken.step(losses), "losses")
        taken.assert_unchanged()
    assert taken.step() != taken.before


@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(POSITIVE_LOSSES)))
def test_losses_of_any_sign(name: str, device: str) -> None:
    """Where no logarithm is taken, negative losses are as good as any."""
    taken = Taken(name, device)
    taken.step(-taken.losses)
    assert taken.asked.optimizer.report().numbers.skipped == 0


def test_losses_that_nobody_needs(device: str) -> None:
    """They may be given, and change nothing."""
    with_losses, without = Taken("UPGrad", device), Taken("UPGrad", device)
    assert with_losses.step() == without.step(None)


@pytest.mark.parametrize("name", ["FAMO", "SDMGrad", "Mean"])
def test_bad_state(name: str, device: str) -> None:
    """Unknown names, wrong sizes, momentum that there is not."""
    taken = Taken(name, device)
    optimizer = taken.asked.optimizer
    names = optimizer.plan_state_names()
    assert_raises(lambda: optimizer.plan_state("nothing"), "nothing", *names)
    assert_raises(lambda: optimizer.set_plan_state("nothing", np.zeros(TASKS)), "nothing")
    for piece in names:
        for size in (0, TASKS - 1, TASKS + 1):
            wrong = np.zeros(size)
            assert_raises(
                lambda piece=piece, wrong=wrong: optimizer.set_plan_state(piece, wrong), str(size)
            )
    assert_raises(lambda: optimizer.task_momentum(0))
    taken.assert_unchanged()


@pytest.mark.parametrize("name", MOMENTUM)
def test_bad_tasks(name: str, device: str) -> None:
    taken = Taken(name, device)
    for task in (-1, TASKS):
        assert_raises(lambda task=task: taken.asked.optimizer.task_momentum(task), str(task))
    taken.assert_unchanged()


@pytest.mark.parametrize(
    "other",
    [
        {"text": "FAMO"},
        {"text": "Mean"},
        {"text": "SDMGrad"},
        {"smoothing": 0.5},
        {"projection": 2},
        {"tasks": 3},
    ],
    ids=str,
)
def test_foreign_plans(other: dict[str, Any]) -> None:
    """State of another aggregator, or of other parts, or of other tasks, is not taken."""

    def made(text: str = "MoDo", tasks: int = TASKS, **options: Any) -> gramstep_c.Optimizer:
        layout = gramstep_c.Layout()
        layout.add("x", (3,))
        layout.add("y", (3,))
        return gramstep_c.Optimizer(layout, aggregator=text, tasks=tasks, **options)

    to = made()
    params, rows = np.zeros(256, np.float32), [np.ones(256, np.float32)] * TASKS
    to.step(params, rows)
    state = to.plan_state("weights")
    with pytest.raises(gramstep_c.GramstepError) as caught:
        to.copy_state(made(**other))
    assert_fails(caught.value.status, Status.INVALID_STATE, "copy_state")
    np.testing.assert_array_equal(to.plan_state("weights"), state)
