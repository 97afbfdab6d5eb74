"""Steps and settings that are wrong: a clear message, and nothing changed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_void_p
from typing import Any

import numpy as np
import pytest
import torch

import gramstep_c
from conftest import why_no_gpu
from failures import OUT_OF_RANGE, assert_fails, assert_raises, small_layout
from gramstep_c import Gradients, GramstepError, Status, gradients_of, library, pointers
from trajectories import c_device


class Trainer:
    """Two tasks that took a step; knows whether anything has changed since."""

    def __init__(self, device: str) -> None:
        layout = small_layout()
        self.size, self.shared, self.heads_size = layout.sizes()
        self.optimizer = gramstep_c.Optimizer(layout, "AdamW", tasks=2, device=c_device(device))
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
        arrays = [each.cpu().numpy() for each in memory]
        arrays += [report.weights, report.gram, report.mean_weights]
        return [*[each.tobytes() for each in arrays], bytes(report.numbers), repr(steps).encode()]

    def state(self, name: str) -> torch.Tensor:
        memory = self.optimizer.state(name)
        if self.device == "cpu":
            return torch.from_numpy(np.asarray(memory))
        return torch.as_tensor(memory, device=self.device)

    def step(self, **changes: Any) -> int:
        """The status of a step whose arguments are right but for the changes."""
        arguments = {
            "optimizer": self.optimizer.handle,
            "params": self.params.data_ptr(),
            "params_size": self.size,
            "gradients": None,
            "stream": None,
        }
        gradients = gradients_of(self.rows, self.heads)
        arguments["gradients"] = byref(gradients)
        for name, value in changes.items():
            if name in arguments:
                arguments[name] = value
            else:
                assert hasattr(gradients, name)
                setattr(gradients, name, value)
        return library.gramstep_step(*arguments.values())


@pytest.fixture
def trainer(device: str) -> Trainer:
    return Trainer(device)


def first_row(t: Trainer, address: int) -> dict[str, Any]:
    """A step whose first row is somewhere else."""
    return {"rows": rows_at(address, t.rows[1].data_ptr())}


def rows_at(*addresses: int) -> Any:
    """The struct's field for rows at these addresses."""
    return ctypes.cast(pointers(addresses), POINTER(c_void_p))


def end_of(memory: torch.Tensor) -> int:
    """The address of the last element."""
    return memory.data_ptr() + 4 * (memory.numel() - 1)


# What is changed of a right step, and words of the message.
BAD_STEPS: dict[str, tuple[Callable[[Trainer], dict[str, Any]], list[str]]] = {
    "null optimizer": (lambda t: {"optimizer": None}, ["optimizer", "null"]),
    "null gradients": (lambda t: {"gradients": None}, ["gradients", "null"]),
    "unknown struct": (lambda t: {"struct_size": 8}, ["gramstep_gradients", "struct_size", "8"]),
    "later struct": (
        lambda t: {"struct_size": ctypes.sizeof(Gradients) + 8},
        ["gramstep_gradients", "struct_size"],
    ),
    "null params": (lambda t: {"params": None}, ["params", "null"]),
    "null rows": (lambda t: {"rows": None}, ["rows", "null"]),
    "null row": (lambda t: first_row(t, 0), ["rows[0]", "null"]),
    "null heads": (lambda t: {"heads": None}, ["heads", "null"]),
    "misaligned params": (
        lambda t: {"params": t.params.data_ptr() + 2},
        ["params", "multiple of 4"],
    ),
    "misaligned row": (
        lambda t: first_row(t, t.rows[0].data_ptr() + 1),
        ["rows[0]", "multiple of 4"],
    ),
    "misaligned heads": (lambda t: {"heads": t.heads.data_ptr() + 3}, ["heads", "multiple of 4"]),
    "row is params": (lambda t: first_row(t, t.params.data_ptr()), ["rows[0]", "params"]),
    "row runs into params": (
        lambda t: first_row(t, t.params.data_ptr() - 4),
        ["rows[0]", "params"],
    ),
    "params run into row": (lambda t: first_row(t, end_of(t.params)), ["rows[0]", "params"]),
    "heads in params": (lambda t: {"heads": t.params.data_ptr() + 512}, ["heads", "params"]),
    "row in state": (lambda t: first_row(t, t.state("exp_avg").data_ptr()), ["rows[0]", "state"]),
    "heads in state": (lambda t: {"heads": end_of(t.state("exp_avg_sq"))}, ["heads", "state"]),
    "params in state": (lambda t: {"params": end_of(t.state("exp_avg"))}, ["params", "state"]),
    "params too small": (lambda t: {"params_size": t.size - 1}, ["params", "383", "384"]),
    "params too large": (lambda t: {"params_size": t.size + 1}, ["params", "385", "384"]),
    "negative size": (lambda t: {"params_size": -1}, ["params", "-1"]),
    "rows too small": (lambda t: {"row_size": t.shared - 1}, ["row_size", "255", "256"]),
    "heads too large": (lambda t: {"heads_size": t.heads_size + 1}, ["heads", "129", "128"]),
    "no rows": (lambda t: {"tasks": 0}, ["rows", "0", "2"]),
    "too few rows": (lambda t: {"tasks": 1}, ["rows", "1", "2"]),
    "too many rows": (
        lambda t: {"tasks": 3, "rows": rows_at(*[t.rows[0].data_ptr()] * 3)},
        ["rows", "3", "2"],
    ),
    "negative tasks": (lambda t: {"tasks": -1}, ["tasks", "-1"]),
}


@pytest.mark.parametrize("what", BAD_STEPS)
def test_bad_step(what: str, trainer: Trainer) -> None:
    changes, words = BAD_STEPS[what]
    assert_fails(trainer.step(**changes(trainer)), Status.INVALID_ARGUMENT, *words)
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


def test_memory_of_another_device() -> None:
    """Host memory for a CUDA optimizer, and the reverse."""
    if reason := why_no_gpu():
        pytest.skip(reason)
    for ours, other in (("cpu", "cuda"), ("cuda", "cpu")):
        trainer, elsewhere = Trainer(ours), Trainer(other)
        changes = [
            {"params": elsewhere.params.data_ptr()},
            {"heads": elsewhere.heads.data_ptr()},
            {"rows": rows_at(trainer.rows[0].data_ptr(), elsewhere.rows[1].data_ptr())},
        ]
        for change in changes:
            assert_fails(trainer.step(**change), Status.INVALID_ARGUMENT, *change)
        assert trainer.everything() == trainer.before


def test_cpu_takes_no_stream() -> None:
    trainer = Trainer("cpu")
    assert_fails(trainer.step(stream=64), Status.INVALID_ARGUMENT, "stream")
    assert_raises(lambda: trainer.optimizer.set_lr(0.5, stream=64), "stream")
    assert_raises(lambda: trainer.optimizer.report(stream=64), "stream")
    assert trainer.everything() == trainer.before


def test_foreign_state(trainer: Trainer) -> None:
    """State of another layout, or of a rule that keeps other state."""
    layout = gramstep_c.Layout()
    layout.add("trunk", (150,))
    layout.add("head", (3,), task=1)
    device = c_device(trainer.device)
    others = [
        gramstep_c.Optimizer(layout, "AdamW", tasks=2, device=device),
        gramstep_c.Optimizer(small_layout(), "SGD", tasks=2, device=device),
        gramstep_c.Optimizer(small_layout(), "AdamW(amsgrad=true)", tasks=2, device=device),
    ]
    for other in others:
        with pytest.raises(GramstepError) as caught:
            trainer.optimizer.copy_state(other)
        assert_fails(caught.value.status, Status.INVALID_STATE, "copy_state")
    assert trainer.everything() == trainer.before
