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


def first_row(t: Trainer, address: int) -> dict[str, Any]:
    """A step whose first row is somewhere else."""
    return {"rows": pointers([address, t.rows[1].data_ptr()])}


def end_of(memory: torch.Tensor) -> int:
    """The address of the last element."""
    return memory.data_ptr() + 4 * (memory.numel() - 1)


# What is changed of a right step, and words of the message.
BAD_STEPS: dict[str, tuple[Callable[[Trainer], dict[str, Any]], list[str]]] = {
    "null optimizer": (lambda t: {"optimizer": None}, ["optimizer", "null"]),
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
        lambda t: {"tasks": 3, "rows": pointers([t.rows[0].data_ptr()] * 3)},
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


def call(name: str, *arguments: Any) -> int:
    return getattr(library, f"gramstep_{name}")(*arguments)


def test_null_arguments() -> None:
    """Every function that needs a handle, a name or a place for its result says which is null."""
    number, size, handle = c_double(), c_int64(), c_void_p()
    layout = small_layout().handle
    options = gramstep_c.default_options(gramstep_c.Rule.SGD)
    maker = gramstep_c.Optimizer(small_layout(), gramstep_c.Rule.SGD, tasks=2)
    optimizer = maker.handle
    group = gramstep_c.GroupOptions(1.0, NAN, -1)
    calls = [
        ("layout", "layout_create", None),
        ("layout", "layout_add_group", None, b"g", byref(group)),
        ("name", "layout_add_group", layout, None, byref(group)),
        ("options", "layout_add_group", layout, b"g", None),
        ("layout", "layout_add", None, b"x", byref(size), 1, SHARED, None),
        ("name", "layout_add", layout, None, byref(size), 1, SHARED, None),
        ("shape", "layout_add", layout, b"x", None, 1, SHARED, None),
        ("layout", "layout_sizes", None, byref(size), None, None),
        ("layout", "layout_segment", None, b"trunk", None, None),
        ("name", "layout_segment", layout, None, None, None),
        ("options", "options_init", None, 0),
        ("optimizer", "optimizer_create", None, layout, byref(options)),
        ("layout", "optimizer_create", byref(handle), None, byref(options)),
        ("options", "optimizer_create", byref(handle), layout, None),
        ("optimizer", "set_lr", None, 0.1, None),
        ("optimizer", "set_loss_scale", None, 1.0, None),
        ("optimizer", "set_active", None, b"trunk", 1, None),
        ("segment", "set_active", optimizer, None, 1, None),
        ("optimizer", "optimizer_report", None, None, byref(number), None, None, None, None),
        ("optimizer", "segment_steps", None, b"trunk", byref(size), None),
        ("segment", "segment_steps", optimizer, None, byref(size), None),
        ("steps", "segment_steps", optimizer, b"trunk", None, None),
        ("optimizer", "state", None, b"exp_avg", None, None),
        ("name", "state", optimizer, None, None, None),
        ("to", "copy_state", None, optimizer),
        ("from", "copy_state", optimizer, None),
    ]
    for what, name, *arguments in calls:
        assert_fails(call(name, *arguments), Status.INVALID_ARGUMENT, name, what, "null")
    assert handle.value is None
    assert library.gramstep_state_count(None) == -1
    assert library.gramstep_state_name(None, 0) is None
    assert library.gramstep_state_name(optimizer, -1) is None
    assert library.gramstep_state_name(optimizer, 0) is None  # plain SGD keeps none
    library.gramstep_layout_destroy(None)
    library.gramstep_optimizer_destroy(None)


def test_bad_layouts() -> None:
    layout = small_layout()
    layout.add_group("slow", 0.5)
    before = layout.sizes()
    segments = [
        ("trunk", ["trunk", [3]]),
        ("head", ["head", [3], 1]),
        ("name", ["", [3]]),
        ("-1", ["x", [4, -1]]),
        ("x", ["x", [2**40, 2**40]]),
        ("-2", ["x", [3], -2]),
        (str(MAX_TASKS), ["x", [3], MAX_TASKS]),
        ("fast", ["x", [3], SHARED, "fast"]),
    ]
    for word, arguments in segments:
        assert_raises(lambda a=arguments: layout.add(*a), word)
    assert_raises(lambda: layout.add_group("slow"), "slow")
    assert_raises(lambda: layout.add_group(""))
    for value in OUT_OF_RANGE:
        assert_raises(lambda v=value: layout.add_group("new", lr_scale=v), "lr_scale")
    for value in [INF, -INF, -1.0]:  # NaN means: as the rule has it
        assert_raises(lambda v=value: layout.add_group("new", weight_decay=v), "weight_decay")
    assert_raises(lambda: layout.segment("trunc"), "trunc")
    assert layout.sizes() == before
    layout.add_group("new")  # none of the failures has left it behind
    layout.add("x", [3], group="new")


BAD_OPTIONS: dict[str, list[Any]] = {
    "tasks": [0, -1, MAX_TASKS + 1],
    "lr": OUT_OF_RANGE,
    "weight_decay": OUT_OF_RANGE,
    "clip_norm": [NAN, -INF, -1.0, 0.0],
    "loss_scale": [*OUT_OF_RANGE, 0.0],
    "rule": [-1, 3],
    "aggregator": [-1, 4],
    "device": [-1, 2],
    "non_finite": [-1, 4],
    "threads": [-1],
    "beta1": [*OUT_OF_RANGE, 1.0],
    "beta2": [*OUT_OF_RANGE, 1.0],
    "epsilon": OUT_OF_RANGE,
    "struct_size": [
        0,
        ctypes.sizeof(gramstep_c.Options) - 8,
        ctypes.sizeof(gramstep_c.Options) + 8,
    ],
}


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_bad_options(option: str) -> None:
    layout = gramstep_c.Layout()
    layout.add("x", (3,))
    for value in BAD_OPTIONS[option]:
        for rule in (gramstep_c.Rule.Adam, gramstep_c.Rule.AdamW):
            assert_creation_fails(layout, rule, {option: value}, option)


def assert_creation_fails(
    layout: gramstep_c.Layout, rule: gramstep_c.Rule, changes: dict[str, Any], *words: str
) -> None:
    """No optimizer is made, and the handle is left as it was."""
    options = gramstep_c.default_options(rule)
    for name, value in changes.items():
        setattr(options, name, value)
    handle = c_void_p()
    status = library.gramstep_optimizer_create(byref(handle), layout.handle, byref(options))
    assert_fails(status, Status.INVALID_ARGUMENT, *words)
    assert handle.value is None


def test_bad_combinations() -> None:
    """Options that are right one by one, but not together or not for this layout."""
    sgd, layout = gramstep_c.Rule.SGD, small_layout()
    for option in ("momentum", "dampening"):
        for value in OUT_OF_RANGE:
            assert_creation_fails(layout, sgd, {"tasks": 2, option: value}, option)
    assert_creation_fails(layout, sgd, {"tasks": 2, "nesterov": 1}, "nesterov", "momentum")
    damped = {"tasks": 2, "nesterov": 1, "momentum": 0.9, "dampening": 0.1}
    assert_creation_fails(layout, sgd, damped, "nesterov", "dampening")
    assert_creation_fails(layout, sgd, {"tasks": 1}, "tasks", "head")
    assert_creation_fails(layout, sgd, {"tasks": 2, "device": 1, "ordinal": -1}, "ordinal", "-1")
    constant = {"tasks": 2, "aggregator": gramstep_c.Aggregator.Constant}
    assert_creation_fails(layout, sgd, constant, "constant_weights")
    weights = (c_double * 2)(1.0, NAN)
    assert_creation_fails(layout, sgd, {**constant, "constant_weights": weights}, "Constant")


def test_unknown_rule_has_no_defaults() -> None:
    options = gramstep_c.Options()
    for rule in (-1, 3):
        status = library.gramstep_options_init(byref(options), rule)
        assert_fails(status, Status.INVALID_ARGUMENT, "rule", str(rule))
    assert bytes(options) == bytes(gramstep_c.Options())


def test_cuda_without_gpu() -> None:
    if library.gramstep_cuda_devices() > 0:
        pytest.skip("there is a GPU")
    with pytest.raises(GramstepError) as caught:
        gramstep_c.Optimizer(
            small_layout(), gramstep_c.Rule.SGD, tasks=2, device=gramstep_c.Device.CUDA
        )
    assert_fails(caught.value.status, Status.DEVICE_UNAVAILABLE, "CUDA")


def test_memory_of_another_device() -> None:
    """Host memory for a CUDA optimizer, and the reverse."""
    if reason := why_no_gpu():
        pytest.skip(reason)
    for ours, other in (("cpu", "cuda"), ("cuda", "cpu")):
        trainer, elsewhere = Trainer(ours), Trainer(other)
        changes = [
            {"params": elsewhere.params.data_ptr()},
            {"heads": elsewhere.heads.data_ptr()},
            {"rows": pointers([trainer.rows[0].data_ptr(), elsewhere.rows[1].data_ptr()])},
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
        gramstep_c.Optimizer(layout, gramstep_c.Rule.AdamW, tasks=2, device=device),
        gramstep_c.Optimizer(small_layout(), gramstep_c.Rule.SGD, tasks=2, device=device),
        gramstep_c.Optimizer(
            small_layout(), gramstep_c.Rule.AdamW, tasks=2, device=device, amsgrad=1
        ),
    ]
    for other in others:
        with pytest.raises(GramstepError) as caught:
            trainer.optimizer.copy_state(other)
        assert_fails(caught.value.status, Status.INVALID_STATE, "copy_state")
    assert trainer.everything() == trainer.before


def test_messages_belong_to_threads() -> None:
    """A failure here leaves no message in another thread, nor the reverse."""
    assert_fails(library.gramstep_layout_create(None), Status.INVALID_ARGUMENT, "layout_create")
    here, messages = gramstep_c.last_error(), []

    def elsewhere() -> None:
        messages.append(gramstep_c.last_error())
        library.gramstep_options_init(None, 0)
        messages.append(gramstep_c.last_error())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert messages[0] == ""
    assert "options_init" in messages[1]
    assert gramstep_c.last_error() == here


def test_names() -> None:
    """What the library says of itself."""
    assert library.gramstep_version() // 1000 == 1
    names = [library.gramstep_status_name(status).decode() for status in Status]
    assert len(set(names)) == len(names)
    assert names[:2] == ["ok", "invalid argument"]
    assert library.gramstep_status_name(99)
    assert library.gramstep_cpu_isa()
