"""gramstep's C ABI through ctypes: all of it, for the checks in this folder.

Memory is anything contiguous with an address: a numpy array, or a torch tensor on the CPU or on a
CUDA device.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from gramstep_abi import (
    MAX_TASKS,
    SHARED,
    Device,
    DType,
    Gradients,
    GramstepError,
    GroupOptions,
    Master,
    NonFinite,
    Options,
    Outputs,
    Precision,
    Projection,
    ReportArrays,
    ReportNumbers,
    Rounding,
    Status,
    check,
    last_error,
    library,
)
from gramstep_layout import Layout
from gramstep_memory import DTYPES, Memory, elements, floats, gradients_of, pointers
from gramstep_texts import aggregator_names, aggregator_text, full_text, named, names_of

__all__ = [
    "MAX_TASKS",
    "SHARED",
    "DType",
    "Device",
    "Gradients",
    "GramstepError",
    "GroupOptions",
    "Layout",
    "Master",
    "NonFinite",
    "Optimizer",
    "Options",
    "Precision",
    "Projection",
    "Report",
    "ReportArrays",
    "ReportNumbers",
    "Rounding",
    "Status",
    "aggregator_names",
    "aggregator_text",
    "check",
    "default_options",
    "floats",
    "full_text",
    "gradients_of",
    "last_error",
    "library",
    "named",
    "names_of",
    "pointers",
]


@dataclass
class Report:
    """What the last step saw and decided: P projections, K tasks."""

    numbers: ReportNumbers
    weights: np.ndarray  # [P, K]
    gram: np.ndarray  # [P, K, K]
    cosines: np.ndarray  # [P, K, K]
    gradient_norms: np.ndarray  # [P, K]
    projection_norms: np.ndarray  # [P]
    dots: np.ndarray  # [P, K]
    dot_cosines: np.ndarray  # [P, K]
    residuals: np.ndarray  # [P]
    iterations: np.ndarray  # [P]
    promises_kept: np.ndarray  # [P] 0 or 1
    mean_weights: np.ndarray  # [P, K]
    mean_cosines: np.ndarray  # [P, K, K]
    mean_promises_kept: np.ndarray  # [P]


def default_options() -> Options:
    """What gramstep_options_init fills in."""
    options = Options()
    check(library.gramstep_options_init(byref(options)))
    return options


class Optimizer:
    """An optimizer; `rule` is a text, `changes` are fields of Options that depart from defaults."""

    def __init__(self, layout: Layout, rule: str = "SGD", **changes: Any) -> None:
        self.handle = c_void_p()
        self.options = default_options()
        changes["rule"] = rule
        fields = {name for name, _ in Options._fields_}
        if unknown := set(changes) - fields:
            raise TypeError(f"got options {sorted(unknown)}, expected some of {sorted(fields)}")
        for name, value in changes.items():
            setattr(self.options, name, value.encode() if isinstance(value, str) else value)
        check(
            library.gramstep_optimizer_create(
                byref(self.handle), layout.handle, byref(self.options)
            )
        )

    def __del__(self) -> None:
        library.gramstep_optimizer_destroy(self.handle)

    def step(
        self,
        params: Any,
        rows: Sequence[Any],
        heads: Any = None,
        losses: Any = None,
        stream: int | None = None,
        **scaling: Any,
    ) -> None:
        """One step: params, one gradient row a task, the heads' gradients, the losses; scaling:
        grad_scale and found_inf."""
        gradients = self.gradients(rows, heads, losses, **scaling)
        check(library.gramstep_step(self.handle, *self.params(params), byref(gradients), stream))

    def params(self, memory: Any) -> tuple[int, int]:
        """Where parameters are, of the type that the options say."""
        return elements(memory, self.options.precision.params)

    def gradients(self, *memory: Any, **scaling: Any) -> Gradients:
        """Rows, heads and losses, of the type that the options say."""
        return gradients_of(*memory, **scaling, dtype=self.options.precision.gradients)

    def step_with_outputs(
        self, params: Any, rows: Sequence[Any], copy: Any = None, delta: Any = None
    ) -> None:
        """One step that writes a copy of the parameters, and a delta in place of changing them."""
        gradients = self.gradients(rows)
        outputs = Outputs(struct_size=ctypes.sizeof(Outputs))
        for name, memory in (("copy", copy), ("delta", delta)):
            if memory is None:
                continue
            dtype = DTYPES[str(memory.dtype).removeprefix("torch.")]
            setattr(outputs, name, elements(memory, dtype)[0])
            setattr(outputs, f"{name}_dtype", dtype)
        place = self.params(params)
        call = library.gramstep_step_with_outputs
        check(call(self.handle, *place, byref(gradients), byref(outputs), None))

    def accumulate(self, total: Any, gradient: Any, scale: float = 1.0) -> None:
        """total += scale * gradient, which may be of 16 bits."""
        dtype = DTYPES[str(gradient.dtype).removeprefix("torch.")]
        address, size = elements(gradient, dtype)
        call = library.gramstep_accumulate
        check(call(self.handle, floats(total)[0], address, size, dtype, scale, None))

    def stepper(self, params: Any, rows: Sequence[Any], losses: Any = None) -> Callable[[], None]:
        """step() with whatever the same memory then holds, and little else than the C call."""
        kept = (params, rows, losses)
        call, handle, place = library.gramstep_step, self.handle, self.params(params)
        gradients = self.gradients(rows, None, losses)
        reference = byref(gradients)

        def step() -> None:
            check(call(handle, *place, reference, None))

        step.kept = kept  # as long as the function, so are its arguments
        return step

    def set_lr(self, lr: float, stream: int | None = None) -> None:
        check(library.gramstep_set_lr(self.handle, lr, stream))

    def set_rule(self, rule: str, stream: int | None = None) -> None:
        check(library.gramstep_set_rule(self.handle, rule.encode(), stream))

    def set_schedule(
        self,
        schedule: str | None,
        warmup_steps: int = 0,
        warmup_start_factor: float = 1 / 3,
        stream: int | None = None,
    ) -> None:
        """None: a constant learning rate."""
        text = None if schedule is None else schedule.encode()
        check(
            library.gramstep_set_schedule(
                self.handle, text, warmup_steps, warmup_start_factor, stream
            )
        )

    def set_clip_norm(self, clip_norm: float, stream: int | None = None) -> None:
        check(library.gramstep_set_clip_norm(self.handle, clip_norm, stream))

    def loss_scale(self) -> Memory:
        """Where the loss scale of the next step is, one number on the optimizer's device."""
        data = c_void_p()
        check(library.gramstep_loss_scale_data(self.handle, byref(data)))
        return Memory(data.value or 0, 1, self.options.device, self)

    def evaluation_params(self, params: Any, out: Any, stream: int | None = None) -> None:
        """out becomes the parameters to evaluate a model with."""
        address, size = self.params(out)
        check(
            library.gramstep_evaluation_params(
                self.handle, self.params(params)[0], address, size, stream
            )
        )

    def set_loss_scale(self, loss_scale: float, stream: int | None = None) -> None:
        check(library.gramstep_set_loss_scale(self.handle, loss_scale, stream))

    def set_active(self, segment: str, active: bool, stream: int | None = None) -> None:
        check(library.gramstep_set_active(self.handle, segment.encode(), active, stream))

    def report(self, stream: int | None = None) -> Report:
        """What the last step saw and decided; waits for the stream."""
        numbers = ReportNumbers()
        check(library.gramstep_optimizer_report(self.handle, byref(numbers), None, stream))
        tasks, parts = numbers.tasks, numbers.projections
        shapes = {"gram": (tasks, tasks), "cosines": (tasks, tasks), "mean_cosines": (tasks, tasks)}
        shapes |= dict.fromkeys(["weights", "gradient_norms", "dots", "dot_cosines"], (tasks,))
        shapes["mean_weights"] = (tasks,)
        places, arrays = ReportArrays(struct_size=ctypes.sizeof(ReportArrays)), {}
        for name, kind in ReportArrays._fields_[1:]:
            shape = (parts, *shapes.get(name, ()))
            if kind == POINTER(c_int32):
                arrays[name] = np.full(shape, -1, np.int32)
            else:
                arrays[name] = np.full(shape, np.nan)
            setattr(places, name, arrays[name].ctypes.data_as(kind))
        check(library.gramstep_optimizer_report(self.handle, None, byref(places), stream))
        return Report(numbers, **arrays)

    def promise(self) -> str:
        """What the aggregator promises, in words."""
        return library.gramstep_promise(self.handle).decode()

    def segment_steps(self, segment: str, stream: int | None = None) -> int:
        steps = c_int64()
        check(library.gramstep_segment_steps(self.handle, segment.encode(), byref(steps), stream))
        return steps.value

    def set_steps(
        self, steps: int, segment_steps: Sequence[int], stream: int | None = None
    ) -> None:
        """Puts step counts back: the optimizer's, and one a segment in the layout's order."""
        counts = (c_int64 * len(segment_steps))(*segment_steps)
        check(library.gramstep_set_steps(self.handle, steps, counts, len(segment_steps), stream))

    def state_names(self) -> list[str]:
        count = library.gramstep_state_count(self.handle)
        return [library.gramstep_state_name(self.handle, i).decode() for i in range(count)]

    def state(self, name: str) -> Memory:
        """A state buffer, laid out as the parameters, on the optimizer's device."""
        data, size = c_void_p(), c_int64()
        check(library.gramstep_state(self.handle, name.encode(), byref(data), byref(size)))
        return Memory(data.value or 0, size.value, self.options.device, self)

    def state_of(self, name: str, segment: str) -> Memory:
        """A segment's state, on the optimizer's device."""
        data, size = c_void_p(), c_int64()
        what = (self.handle, name.encode(), segment.encode())
        check(library.gramstep_state_of(*what, byref(data), byref(size)))
        return Memory(data.value or 0, size.value, self.options.device, self)

    def stored_state(self, name: str, segment: str | None = None) -> Memory:
        """State of any type, of a segment or all of it."""
        data, size, dtype = c_void_p(), c_int64(), c_int32()
        what = (self.handle, name.encode(), segment.encode() if segment else None)
        check(library.gramstep_stored_state(*what, byref(data), byref(size), byref(dtype)))
        return Memory(data.value or 0, size.value, self.options.device, self, dtype.value)

    def segment_state_names(self) -> list[str]:
        name, count = (getattr(library, f"gramstep_segment_state_{of}") for of in ("name", "count"))
        return [name(self.handle, i).decode() for i in range(count(self.handle))]

    def segment_state(self, name: str, segments: int, stream: int | None = None) -> np.ndarray:
        """A scalar that the rule keeps for every segment, of all segments in the layout's order."""
        values = np.full(segments, np.nan)
        place = values.ctypes.data_as(POINTER(c_double))
        call = library.gramstep_segment_state
        check(call(self.handle, name.encode(), place, segments, stream))
        return values

    def set_segment_state(self, name: str, values: Any, stream: int | None = None) -> None:
        values = np.ascontiguousarray(values, dtype=np.float64)
        place = values.ctypes.data_as(POINTER(c_double))
        call = library.gramstep_set_segment_state
        check(call(self.handle, name.encode(), place, values.size, stream))

    def plan_state_names(self) -> list[str]:
        count = library.gramstep_plan_state_count(self.handle)
        return [library.gramstep_plan_state_name(self.handle, i).decode() for i in range(count)]

    def plan_state(self, name: str, stream: int | None = None) -> np.ndarray:
        """A copy of a piece of the plan's state, all projections'."""
        size = c_int64()
        what = (self.handle, name.encode())
        check(library.gramstep_plan_state(*what, None, 0, byref(size), stream))
        values = np.full(size.value, np.nan)
        place = values.ctypes.data_as(POINTER(c_double))
        check(library.gramstep_plan_state(*what, place, values.size, None, stream))
        return values

    def set_plan_state(self, name: str, values: np.ndarray, stream: int | None = None) -> None:
        values = np.ascontiguousarray(values, dtype=np.float64)
        place = values.ctypes.data_as(POINTER(c_double))
        check(
            library.gramstep_set_plan_state(self.handle, name.encode(), place, values.size, stream)
        )

    def task_momentum(self, task: int, stream: int | None = None) -> Memory:
        """The momentum of a task's gradient, laid out as a row, on the optimizer's device."""
        data, size = c_void_p(), c_int64()
        check(library.gramstep_task_momentum(self.handle, task, byref(data), byref(size), stream))
        return Memory(data.value or 0, size.value, self.options.device, self)

    def copy_state(self, source: Optimizer) -> None:
        check(library.gramstep_copy_state(self.handle, source.handle))
