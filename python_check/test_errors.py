"""Bad input through the C ABI: a status, a message that says what, and nothing changed."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import byref, c_double, c_int64, c_void_p
from typing import Any

import numpy as np
import pytest
import torch

import gramstep_c
from conftest import why_no_gpu
from gramstep_c import MAX_TASKS, SHARED, GramstepError, Status, library, pointers
from trajectories import c_device

NAN, INF = float("nan"), float("inf")
OUT_OF_RANGE = [NAN, INF, -INF, -1.0]


def assert_fails(status: int, expected: Status, *words: str) -> None:
    """The status is the expected one, and the message has all of these words."""
    assert status == expected, f"{Status(status).name}: {gramstep_c.last_error()!r}"
    message = gramstep_c.last_error()
    assert message
    for word in words:
        assert word in message, message


def assert_raises(call: Callable[[], Any], *words: str) -> None:
    """The call is an invalid argument, and the message has all of these words."""
    with pytest.raises(GramstepError) as caught:
        call()
    assert_fails(caught.value.status, Status.INVALID_ARGUMENT, *words)


def small_layout() -> gramstep_c.Layout:
    """A shared segment with padding, and a head."""
    layout = gramstep_c.Layout()
    layout.add("trunk", (5, 30))
    layout.add("head", (3,), task=1)
    return layout


class Trainer:
    """Two tasks that took a step; knows whether anything has changed since."""

    def __init__(self, device: str) -> None:
        layout = small_layout()
        self.size, self.shared, self.heads_size = layout.sizes()
        self.optimizer = gramstep_c.Optimizer(
            layout, gramstep_c.Rule.AdamW, tasks=2, device=c_device(device)
        )
        self.device = device
        self.params = torch.ones(self.size, device=device)
        self.rows = [torch.full((self.shared,), value, device=device) for value in (0.5, -0.25)]
        self.heads = torch.full((self.heads_size,), 0.125, device=device)
        self.optimizer.step(self.params, self.rows, self.heads)
        self.before = self.everything()

    def everything(self) -> list[bytes]:
        report = self.optimizer.report()
        memory = [self.params, *self.rows, self.heads, *map(self.state, ["exp_avg", "exp_avg_sq"])]
        steps = [self.optimizer.segment_steps(name) for name in ("trunk", "head")]
        arrays = [each.cpu().numpy() for each in memory] + [report.weights, report.gram]
        return [*[each.tobytes() for each in arrays], bytes(report.numbers), repr(steps).encode()]

    def state(self, name: str) -> torch.Tensor:
        memory = self.optimizer.state(name)
        if self.device == "cpu":
            return torch.from_numpy(np.asarray(memory))
        return torch.as_tensor(memory, device=self.device)

    def step(self, **changes: Any) -> int:
        """The status of a step whose arguments are right but for the changes."""
        right = {
            "optimizer": self.optimizer.handle,
            "params": self.params.data_ptr(),
            "params_size": self.size,
            "rows": pointers([row.data_ptr() for row in self.rows]),
            "tasks": 2,
            "row_size": self.shared,
            "heads": self.heads.data_ptr(),
            "heads_size": self.heads_size,
            "stream": None,
        }
        assert set(changes) <= set(right)
        return library.gramstep_step(*{**right, **changes}.values())


@pytest.fixture
def trainer(device: str) -> Trainer:
    return Trainer(device)


def bad_steps(t: Trainer) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Changed arguments of a step, and words of the message."""
    params, heads = t.params.data_ptr(), t.heads.data_ptr()
    first, second = (row.data_ptr() for row in t.rows)
    state = t.state("exp_avg").data_ptr()
    end = params + 4 * (t.size - 1)
    return {
        "null optimizer": ({"optimizer": None}, ["optimizer", "null"]),
        "null params": ({"params": None}, ["params", "null"]),
        "null rows": ({"rows": None}, ["rows", "null"]),
        "null row": ({"rows": pointers([first, 0])}, ["rows[1]", "null"]),
        "null heads": ({"heads": None}, ["heads", "null"]),
        "misaligned params": ({"params": params + 2}, ["params", "multiple of 4"]),
        "misaligned row": ({"rows": pointers([first + 1, second])}, ["rows[0]", "multiple of 4"]),
        "misaligned heads": ({"heads": heads + 3}, ["heads", "multiple of 4"]),
        "row is params": ({"rows": pointers([first, params])}, ["rows[1]", "params"]),
        "row ends in params": ({"rows": pointers([params - 4, second])}, ["rows[0]", "params"]),
        "row starts in params": ({"rows": pointers([first, end])}, ["rows[1]", "params"]),
        "heads in params": ({"heads": params + 512}, ["heads", "params"]),
        "row in state": ({"rows": pointers([state, second])}, ["rows[0]", "state"]),
        "params are state": ({"params": state}, ["params", "state"]),
        "params too small": ({"params_size": t.size - 1}, ["params", str(t.size - 1), str(t.size)]),
        "params too large": ({"params_size": t.size + 1}, ["params", str(t.size + 1), str(t.size)]),
        "negative size": ({"params_size": -1}, ["params", "-1"]),
        "row too small": ({"row_size": t.shared - 1}, ["row_size", str(t.shared - 1)]),
        "heads too large": ({"heads_size": t.heads_size + 1}, ["heads", str(t.heads_size + 1)]),
        "no rows": ({"tasks": 0}, ["rows", "0", "2"]),
        "too few rows": ({"tasks": 1}, ["rows", "1", "2"]),
        "too many rows": ({"tasks": 3, "rows": pointers([first] * 3)}, ["rows", "3", "2"]),
        "negative tasks": ({"tasks": -1}, ["tasks", "-1"]),
    }


BAD_STEPS = [
    *["null optimizer", "null params", "null rows", "null row", "null heads"],
    *["misaligned params", "misaligned row", "misaligned heads"],
    *["row is params", "row ends in params", "row starts in params", "heads in params"],
    *["row in state", "params are state", "params too small", "params too large"],
    *["negative size", "row too small", "heads too large", "no rows", "too few rows"],
    *["too many rows", "negative tasks"],
]


@pytest.mark.parametrize("what", BAD_STEPS)
def test_bad_step(what: str, trainer: Trainer) -> None:
    cases = bad_steps(trainer)
    assert list(cases) == BAD_STEPS
    changes, words = cases[what]
    assert_fails(trainer.step(**changes), Status.INVALID_ARGUMENT, *words)
    assert trainer.everything() == trainer.before
    assert trainer.step() == Status.OK
    assert trainer.everything() != trainer.before


def test_bad_settings(trainer: Trainer) -> None:
    optimizer = trainer.optimizer
    for lr in OUT_OF_RANGE:
        assert_raises(lambda lr=lr: optimizer.set_lr(lr), "lr")
    for scale in [*OUT_OF_RANGE, 0.0]:
        assert_raises(lambda scale=scale: optimizer.set_loss_scale(scale), "loss_scale")
    assert_raises(lambda: optimizer.set_active("trunc", False), "trunc")
    assert_raises(lambda: optimizer.segment_steps("trunc"), "trunc")
    assert_raises(lambda: optimizer.state("momentum_buffer"), "momentum_buffer", "exp_avg_sq")
    assert trainer.everything() == trainer.before
    untouched = Trainer(trainer.device)
    for each in (trainer, untouched):
        assert each.step() == Status.OK
    assert trainer.everything() == untouched.everything()


def test_null_handles() -> None:
    """Every function that takes a handle or a place for its result says which one is null."""
    number, size = c_double(), c_int64()
    layout, optimizer = small_layout(), gramstep_c.Optimizer(layout_of_one(), gramstep_c.Rule.SGD)
    options = gramstep_c.default_options(gramstep_c.Rule.SGD)
    group = gramstep_c.GroupOptions(1.0, NAN, -1)
    calls = [
        (library.gramstep_layout_create(None), "layout"),
        (library.gramstep_layout_add_group(None, b"g", byref(group)), "layout"),
        (library.gramstep_layout_add(None, b"x", byref(size), 1, SHARED, None), "layout"),
        (library.gramstep_layout_sizes(None, byref(size), None, None), "layout"),
        (library.gramstep_layout_segment(None, b"x", None, None), "layout"),
        (library.gramstep_options_init(None, 0), "options"),
        (library.gramstep_optimizer_create(None, layout.handle, byref(options)), "optimizer"),
        (library.gramstep_set_lr(None, 0.1, None), "optimizer"),
        (library.gramstep_set_loss_scale(None, 1.0, None), "optimizer"),
        (library.gramstep_set_active(None, b"x", 1, None), "optimizer"),
        (library.gramstep_optimizer_report(None, None, byref(number), *[None] * 4), "optimizer"),
        (library.gramstep_segment_steps(None, b"x", byref(size), None), "optimizer"),
        (library.gramstep_state(None, b"x", None, None), "optimizer"),
        (library.gramstep_copy_state(None, optimizer.handle), "to"),
        (library.gramstep_copy_state(optimizer.handle, None), "from"),
    ]
    assert [status for status, _ in calls] == [Status.INVALID_ARGUMENT] * len(calls)
