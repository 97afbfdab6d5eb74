"""The C headers as ctypes has them: enumerations, structures, signatures, and what a failure becomes.

The library is the shared object that GRAMSTEP_LIBRARY names.
"""

from __future__ import annotations

import ctypes
import enum
import os
from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)
from typing import Any

MAX_TASKS = 64
SHARED = -1


class Status(enum.IntEnum):
    OK = 0
    INVALID_ARGUMENT = 1
    INVALID_STATE = 2
    DEVICE_UNAVAILABLE = 3
    OUT_OF_MEMORY = 4
    CUDA_ERROR = 5
    NON_FINITE_GRADIENT = 6
    INTERNAL_ERROR = 7


class Projection(enum.IntEnum):
    MODEL = 0
    GROUP = 1
    SEGMENT = 2


class NonFinite(enum.IntEnum):
    DEFAULT = 0
    SKIP = 1
    ERROR = 2
    PROPAGATE = 3


class Device(enum.IntEnum):
    CPU = 0
    CUDA = 1


class DType(enum.IntEnum):
    FLOAT32 = 0
    BFLOAT16 = 1
    FLOAT16 = 2
    INT16 = 3
    DYNAMIC8 = 4


class Master(enum.IntEnum):
    NONE = 0
    FLOAT32 = 1
    REMAINDER = 2


class Rounding(enum.IntEnum):
    NEAREST = 0
    STOCHASTIC = 1
    KAHAN = 2


class Precision(ctypes.Structure):
    _fields_ = [
        ("params", c_int32),
        ("gradients", c_int32),
        ("master", c_int32),
        ("states", c_int32),
        ("rounding", c_int32),
        ("reserved", c_int32),
        ("seed", c_uint64),
    ]


class GroupOptions(ctypes.Structure):
    _fields_ = [
        ("lr_scale", c_double),
        ("weight_decay", c_double),
        ("maximize", c_int32),
        ("elementwise", c_int32),
    ]


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("rule", c_char_p),
        ("aggregator", c_char_p),
        ("schedule", c_char_p),
        ("warmup_steps", c_int64),
        ("warmup_start_factor", c_double),
        ("projection", c_int32),
        ("tasks", c_int32),
        ("device", c_int32),
        ("ordinal", c_int32),
        ("threads", c_int32),
        ("non_finite", c_int32),
        ("clip_norm", c_double),
        ("smoothing", c_double),
        ("loss_scale", c_double),
        ("dynamic_loss_scale", c_int32),
        ("zero_gradients", c_int32),
        ("growth_factor", c_double),
        ("backoff_factor", c_double),
        ("growth_interval", c_int64),
        ("precision", Precision),
        ("ema_decay", c_double),
        ("offload_state", c_int32),
        ("reserved", c_int32),
    ]


class Gradients(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("rows", POINTER(c_void_p)),
        ("row_size", c_int64),
        ("heads", c_void_p),
        ("heads_size", c_int64),
        ("losses", c_void_p),
        ("losses_size", c_int64),
        ("grad_scale", c_void_p),
        ("found_inf", c_void_p),
        ("tasks", c_int32),
        ("reserved", c_int32),
    ]


class Outputs(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("copy", c_void_p),
        ("delta", c_void_p),
        ("copy_dtype", c_int32),
        ("delta_dtype", c_int32),
    ]


class ReportNumbers(ctypes.Structure):
    _fields_ = [
        ("tasks", c_int32),
        ("skipped", c_int32),
        ("looked", c_int32),
        ("projections", c_int32),
        ("steps", c_int64),
        ("skipped_steps", c_int64),
        ("conflict_rate", c_double),
        ("heads_norm", c_double),
        ("norm", c_double),
        ("clipped_norm", c_double),
        ("lr", c_double),
        ("mean_steps", c_int64),
        ("mean_conflict_rate", c_double),
        ("of_momenta", c_int32),
        ("reserved", c_int32),
    ]


class ReportArrays(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("weights", POINTER(c_double)),
        ("gram", POINTER(c_double)),
        ("cosines", POINTER(c_double)),
        ("gradient_norms", POINTER(c_double)),
        ("projection_norms", POINTER(c_double)),
        ("dots", POINTER(c_double)),
        ("dot_cosines", POINTER(c_double)),
        ("residuals", POINTER(c_double)),
        ("iterations", POINTER(c_int32)),
        ("promises_kept", POINTER(c_int32)),
        ("mean_weights", POINTER(c_double)),
        ("mean_cosines", POINTER(c_double)),
        ("mean_promises_kept", POINTER(c_double)),
    ]


class AggregationOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("aggregator", c_char_p),
        ("size", c_int64),
        ("batch", c_int64),
        ("smoothing", c_double),
        ("tasks", c_int32),
        ("device", c_int32),
        ("ordinal", c_int32),
        ("threads", c_int32),
        ("gradients", c_int32),
        ("reserved", c_int32),
    ]


Handle = c_void_p
Rows = POINTER(c_void_p)
HandleOut = POINTER(c_void_p)
DoublesOut = POINTER(c_double)
SizeOut = POINTER(c_int64)
Stream = c_void_p
TEXT = [c_char_p, c_char_p, c_size_t, POINTER(c_size_t)]

SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "version": (c_int, []),
    "last_error": (c_char_p, []),
    "status_name": (c_char_p, [c_int]),
    "cuda_devices": (c_int, []),
    "cpu_isa": (c_char_p, []),
    "layout_create": (c_int, [HandleOut]),
    "layout_destroy": (None, [Handle]),
    "layout_add_group": (c_int, [Handle, c_char_p, POINTER(GroupOptions)]),
    "layout_add": (c_int, [Handle, c_char_p, SizeOut, c_int32, c_int32, c_char_p]),
    "layout_sizes": (c_int, [Handle, SizeOut, SizeOut, SizeOut]),
    "layout_segment": (c_int, [Handle, c_char_p, SizeOut, SizeOut]),
    "aggregator_count": (c_int, []),
    "aggregator_name": (c_char_p, [c_int]),
    "rule_count": (c_int, []),
    "rule_name": (c_char_p, [c_int]),
    "schedule_count": (c_int, []),
    "schedule_name": (c_char_p, [c_int]),
    "aggregator_text": (c_int, TEXT),
    "rule_text": (c_int, TEXT),
    "schedule_text": (c_int, TEXT),
    "options_init": (c_int, [POINTER(Options)]),
    "optimizer_create": (c_int, [HandleOut, Handle, POINTER(Options)]),
    "optimizer_destroy": (None, [Handle]),
    "step": (c_int, [Handle, c_void_p, c_int64, POINTER(Gradients), Stream]),
    "step_with_outputs": (
        c_int,
        [Handle, c_void_p, c_int64, POINTER(Gradients), POINTER(Outputs), Stream],
    ),
    "accumulate": (c_int, [Handle, c_void_p, c_void_p, c_int64, c_int32, c_double, Stream]),
    "set_lr": (c_int, [Handle, c_double, Stream]),
    "set_rule": (c_int, [Handle, c_char_p, Stream]),
    "set_schedule": (c_int, [Handle, c_char_p, c_int64, c_double, Stream]),
    "set_clip_norm": (c_int, [Handle, c_double, Stream]),
    "loss_scale_data": (c_int, [Handle, HandleOut]),
    "evaluation_params": (c_int, [Handle, c_void_p, c_void_p, c_int64, Stream]),
    "set_loss_scale": (c_int, [Handle, c_double, Stream]),
    "set_active": (c_int, [Handle, c_char_p, c_int32, Stream]),
    "optimizer_report": (c_int, [Handle, POINTER(ReportNumbers), POINTER(ReportArrays), Stream]),
    "promise": (c_char_p, [Handle]),
    "segment_steps": (c_int, [Handle, c_char_p, SizeOut, Stream]),
    "set_steps": (c_int, [Handle, c_int64, SizeOut, c_int64, Stream]),
    "state_count": (c_int, [Handle]),
    "state_name": (c_char_p, [Handle, c_int]),
    "state": (c_int, [Handle, c_char_p, HandleOut, SizeOut]),
    "state_of": (c_int, [Handle, c_char_p, c_char_p, HandleOut, SizeOut]),
    "stored_state": (c_int, [Handle, c_char_p, c_char_p, HandleOut, SizeOut, POINTER(c_int32)]),
    "segment_state_count": (c_int, [Handle]),
    "segment_state_name": (c_char_p, [Handle, c_int]),
    "segment_state": (c_int, [Handle, c_char_p, DoublesOut, c_int64, Stream]),
    "set_segment_state": (c_int, [Handle, c_char_p, DoublesOut, c_int64, Stream]),
    "plan_state_count": (c_int, [Handle]),
    "plan_state_name": (c_char_p, [Handle, c_int]),
    "plan_state": (c_int, [Handle, c_char_p, DoublesOut, c_int64, SizeOut, Stream]),
    "set_plan_state": (c_int, [Handle, c_char_p, DoublesOut, c_int64, Stream]),
    "task_momentum": (c_int, [Handle, c_int32, HandleOut, SizeOut, Stream]),
    "copy_state": (c_int, [Handle, Handle]),
    "aggregation_options_init": (c_int, [POINTER(AggregationOptions)]),
    "aggregation_create": (c_int, [HandleOut, POINTER(AggregationOptions)]),
    "aggregation_destroy": (None, [Handle]),
    "aggregation_gram": (c_int, [Handle, Rows, c_int32, c_void_p, Stream]),
    "aggregation_weights": (c_int, [Handle, c_void_p, c_void_p, c_void_p, c_int64, Stream]),
    "aggregation_combine": (c_int, [Handle, Rows, c_int32, c_void_p, c_void_p, Stream]),
    "aggregation_solutions": (c_int, [Handle, POINTER(c_int32), DoublesOut, Stream]),
    "aggregation_steps": (c_int, [Handle, SizeOut, Stream]),
    "aggregation_set_steps": (c_int, [Handle, c_int64, Stream]),
    "aggregation_plan_state": (c_int, [Handle, c_char_p, DoublesOut, c_int64, SizeOut, Stream]),
    "aggregation_set_plan_state": (c_int, [Handle, c_char_p, DoublesOut, c_int64, Stream]),
}


def load() -> ctypes.CDLL:
    """The library with every function's signature; raises ImportError that says what to do."""
    path = os.environ.get("GRAMSTEP_LIBRARY")
    if not path:
        raise ImportError("GRAMSTEP_LIBRARY is not set: it must name gramstep's shared library")
    try:
        opened = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"GRAMSTEP_LIBRARY={path} cannot be loaded: {error}") from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(opened, f"gramstep_{name}")
        function.restype, function.argtypes = result, arguments
    return opened


library = load()


class GramstepError(RuntimeError):
    """A status that is not OK, with the message of the library."""

    def __init__(self, status: int) -> None:
        self.status = Status(status)
        super().__init__(f"{library.gramstep_status_name(status).decode()}: {last_error()}")


def last_error() -> str:
    """The message of this thread's last failure."""
    return library.gramstep_last_error().decode()


def check(status: int) -> None:
    """Raises GramstepError unless the status is OK."""
    if status != Status.OK:
        raise GramstepError(status)
