"""Layouts, options and arguments that are wrong: a clear message, and nothing made."""

from __future__ import annotations

import ctypes
import threading
from ctypes import byref, c_double, c_float, c_int64, c_void_p
from typing import Any

import pytest

import gramstep_c
from failures import OUT_OF_RANGE, assert_fails, assert_raises, small_layout
from gramstep_c import MAX_TASKS, SHARED, GramstepError, Status, library

NAN, INF = float("nan"), float("inf")


def call(name: str, *arguments: Any) -> int:
    return getattr(library, f"gramstep_{name}")(*arguments)


def test_null_arguments() -> None:
    """Every function that needs a handle, a name or a place for its result says which is null."""
    number, size, handle = c_double(), c_int64(), c_void_p()
    room = (c_float * 384)()
    layout = small_layout().handle
    options = gramstep_c.default_options()
    maker = gramstep_c.Optimizer(small_layout(), "SGD", tasks=2)
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
        ("options", "options_init", None),
        ("optimizer", "optimizer_create", None, layout, byref(options)),
        ("layout", "optimizer_create", byref(handle), None, byref(options)),
        ("options", "optimizer_create", byref(handle), layout, None),
        ("optimizer", "set_lr", None, 0.1, None),
        ("optimizer", "set_loss_scale", None, 1.0, None),
        ("optimizer", "set_active", None, b"trunk", 1, None),
        ("segment", "set_active", optimizer, None, 1, None),
        ("optimizer", "optimizer_report", None, None, None, None),
        ("aggregator", "aggregator_text", None, None, 0, None),
        ("rule", "rule_text", None, None, 0, None),
        ("schedule", "schedule_text", None, None, 0, None),
        ("optimizer", "set_rule", None, b"SGD", None),
        ("rule", "set_rule", optimizer, None, None),
        ("optimizer", "set_schedule", None, b"ConstantLR", 0, 1.0, None),
        ("optimizer", "set_clip_norm", None, 1.0, None),
        ("optimizer", "loss_scale_data", None, byref(handle)),
        ("data", "loss_scale_data", optimizer, None),
        ("optimizer", "evaluation_params", None, None, None, 0, None),
        ("params", "evaluation_params", optimizer, None, room, 384, None),
        ("out", "evaluation_params", optimizer, room, None, 384, None),
        ("optimizer", "segment_state", None, b"x", byref(number), 1, None),
        ("name", "segment_state", optimizer, None, byref(number), 1, None),
        ("values", "segment_state", optimizer, b"x", None, 1, None),
        ("optimizer", "set_segment_state", None, b"x", byref(number), 1, None),
        ("name", "set_segment_state", optimizer, None, byref(number), 1, None),
        ("values", "set_segment_state", optimizer, b"x", None, 1, None),
        ("optimizer", "segment_steps", None, b"trunk", byref(size), None),
        ("segment", "segment_steps", optimizer, None, byref(size), None),
        ("steps", "segment_steps", optimizer, b"trunk", None, None),
        ("optimizer", "set_steps", None, 0, byref(size), 1, None),
        ("segment_steps", "set_steps", optimizer, 0, None, 1, None),
        ("optimizer", "state", None, b"exp_avg", None, None),
        ("name", "state", optimizer, None, None, None),
        ("optimizer", "plan_state", None, b"xi", None, 0, byref(size), None),
        ("name", "plan_state", optimizer, None, None, 0, byref(size), None),
        ("optimizer", "set_plan_state", None, b"xi", byref(number), 1, None),
        ("name", "set_plan_state", optimizer, None, byref(number), 1, None),
        ("values", "set_plan_state", optimizer, b"xi", None, 1, None),
        ("optimizer", "task_momentum", None, 0, None, None, None),
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
    assert library.gramstep_segment_state_count(None) == -1
    assert library.gramstep_segment_state_name(None, 0) is None
    assert library.gramstep_segment_state_name(optimizer, 0) is None
    assert library.gramstep_plan_state_count(None) == -1
    assert library.gramstep_plan_state_name(None, 0) is None
    assert library.gramstep_plan_state_name(optimizer, 0) is None  # nor does a sum
    assert library.gramstep_promise(None) == b""
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
    "clip_norm": [NAN, -INF, -1.0, 0.0],
    "loss_scale": [*OUT_OF_RANGE, 0.0],
    "rule": [
        b"",
        b"Adamw",
        b"AdamW(",
        b"AdamW(lr)",
        b"AdamW(lr=1, lr=1)",
        b"SGD()x",
        b"SGD(rho=1)",
    ],
    "schedule": [b"", b"StepLr", b"StepLR(step_size=1.5)", b"StepLR(gamma)"],
    "warmup_steps": [-1],
    "warmup_start_factor": [*OUT_OF_RANGE, 1.0625],
    "aggregator": [
        b"",
        b"PCGra",
        b"PCGrad(",
        b"PCGrad(order)",
        b"PCGrad(order=none)",
        b"CAGrad(c=1, c=1)",
        b"Sum()x",
    ],
    "projection": [-1, 3],
    "smoothing": [*OUT_OF_RANGE, 1.0],
    "device": [-1, 2],
    "non_finite": [-1, 4],
    "threads": [-1],
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
        # A text is named by what it is, an option of the struct by its own name.
        word = {"warmup_steps": "Warmup.steps", "warmup_start_factor": "Warmup.start_factor"}
        assert_creation_fails(layout, {option: value}, word.get(option, option))


def assert_creation_fails(layout: gramstep_c.Layout, changes: dict[str, Any], *words: str) -> None:
    """No optimizer is made, and the handle is left as it was."""
    options = gramstep_c.default_options()
    for name, value in changes.items():
        setattr(options, name, value)
    handle = c_void_p()
    status = library.gramstep_optimizer_create(byref(handle), layout.handle, byref(options))
    assert_fails(status, Status.INVALID_ARGUMENT, *words)
    assert handle.value is None


def test_bad_combinations() -> None:
    """Options that are right one by one, but not together or not for this layout."""
    layout = small_layout()
    for options in ("nesterov=true", "nesterov=true, momentum=0.9, dampening=0.1"):
        sgd = {"tasks": 2, "rule": f"SGD({options})".encode()}
        assert_creation_fails(layout, sgd, "SGD.nesterov", "momentum", "dampening")
    assert_creation_fails(layout, {"tasks": 1}, "tasks", "head")
    assert_creation_fails(layout, {"tasks": 2, "device": 1, "ordinal": -1}, "ordinal", "-1")
    for values in ("", "(values=[1])", "(values=[1, 2, 3])", "(values=[1, nan])"):
        constant = {"tasks": 2, "aggregator": f"Constant{values}".encode()}
        assert_creation_fails(layout, constant, "Constant")


def test_cuda_without_gpu() -> None:
    if library.gramstep_cuda_devices() > 0:
        pytest.skip("there is a GPU")
    with pytest.raises(GramstepError) as caught:
        gramstep_c.Optimizer(small_layout(), "SGD", tasks=2, device=gramstep_c.Device.CUDA)
    assert_fails(caught.value.status, Status.DEVICE_UNAVAILABLE, "CUDA")


def test_messages_belong_to_threads() -> None:
    """A failure here leaves no message in another thread, nor the reverse."""
    assert_fails(library.gramstep_layout_create(None), Status.INVALID_ARGUMENT, "layout_create")
    here, messages = gramstep_c.last_error(), []

    def elsewhere() -> None:
        messages.append(gramstep_c.last_error())
        library.gramstep_options_init(None)
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
