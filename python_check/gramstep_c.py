"""gramstep's C ABI through ctypes: the whole of gramstep.h, for the checks in this folder.

Memory is anything contiguous in fp32 with an address: a numpy array, or a torch tensor on the CPU
or on a CUDA device. The library is the shared object that GRAMSTEP_LIBRARY names.
"""

from __future__ import annotations

import ctypes
import enum
import os
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

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


class Rule(enum.IntEnum):
    SGD = 0
    Adam = 1
    AdamW = 2


class Aggregator(enum.IntEnum):
    Sum = 0
    Mean = 1
    Constant = 2
    PCGrad = 3


class NonFinite(enum.IntEnum):
    DEFAULT = 0
    SKIP = 1
    ERROR = 2
    PROPAGATE = 3


class Device(enum.IntEnum):
    CPU = 0
    CUDA = 1


class GroupOptions(ctypes.Structure):
    _fields_ = [("lr_scale", c_double), ("weight_decay", c_double), ("maximize", c_int32)]


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("rule", c_int32),
        ("aggregator", c_int32),
        ("tasks", c_int32),
        ("device", c_int32),
        ("ordinal", c_int32),
        ("threads", c_int32),
        ("non_finite", c_int32),
        ("maximize", c_int32),
        ("lr", c_double),
        ("weight_decay", c_double),
        ("clip_norm", c_double),
        ("loss_scale", c_double),
        ("momentum", c_double),
        ("dampening", c_double),
        ("nesterov", c_int32),
        ("amsgrad", c_int32),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("constant_weights", POINTER(c_double)),
        ("mean_reduction", c_int32),
        ("fixed_order", c_int32),
        ("seed", ctypes.c_uint64),
    ]


class ReportNumbers(ctypes.Structure):
    _fields_ = [
        ("tasks", c_int32),
        ("skipped", c_int32),
        ("looked", c_int32),
        ("reserved", c_int32),
        ("steps", c_int64),
        ("skipped_steps", c_int64),
        ("conflict_rate", c_double),
        ("heads_norm", c_double),
        ("norm", c_double),
        ("clipped_norm", c_double),
        ("lr", c_double),
    ]


# A float pointer with the number of its elements.
FLOATS = [c_void_p, c_int64]

SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "version": (c_int, []),
    "last_error": (c_char_p, []),
    "status_name": (c_char_p, [c_int]),
    "cuda_devices": (c_int, []),
    "cpu_isa": (c_char_p, []),
    "layout_create": (c_int, [POINTER(c_void_p)]),
    "layout_destroy": (None, [c_void_p]),
    "layout_add_group": (c_int, [c_void_p, c_char_p, POINTER(GroupOptions)]),
    "layout_add": (c_int, [c_void_p, c_char_p, POINTER(c_int64), c_int32, c_int32, c_char_p]),
    "layout_sizes": (c_int, [c_void_p, POINTER(c_int64), POINTER(c_int64), POINTER(c_int64)]),
    "layout_segment": (c_int, [c_void_p, c_char_p, POINTER(c_int64), POINTER(c_int64)]),
    "options_init": (c_int, [POINTER(Options), c_int32]),
    "optimizer_create": (c_int, [POINTER(c_void_p), c_void_p, POINTER(Options)]),
    "optimizer_destroy": (None, [c_void_p]),
    "step": (
        c_int,
        [c_void_p, *FLOATS, POINTER(c_void_p), c_int32, c_int64, *FLOATS, c_void_p],
    ),
    "set_lr": (c_int, [c_void_p, c_double, c_void_p]),
    "set_loss_scale": (c_int, [c_void_p, c_double, c_void_p]),
    "set_active": (c_int, [c_void_p, c_char_p, c_int32, c_void_p]),
    "optimizer_report": (
        c_int,
        [c_void_p, POINTER(ReportNumbers), *[POINTER(c_double)] * 4, c_void_p],
    ),
    "segment_steps": (c_int, [c_void_p, c_char_p, POINTER(c_int64), c_void_p]),
    "state_count": (c_int, [c_void_p]),
    "state_name": (c_char_p, [c_void_p, c_int]),
    "state": (c_int, [c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_int64)]),
    "copy_state": (c_int, [c_void_p, c_void_p]),
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


def floats(memory: Any) -> tuple[int, int]:
    """Address and number of elements of contiguous fp32 memory; (0, 0) for None."""
    if memory is None:
        return 0, 0
    if str(memory.dtype) not in ("float32", "torch.float32"):
        raise TypeError(f"got memory of {memory.dtype}, expected float32")
    if hasattr(memory, "data_ptr"):
        contiguous, address, size = memory.is_contiguous(), memory.data_ptr(), memory.numel()
    else:
        contiguous, address, size = memory.flags.c_contiguous, memory.ctypes.data, memory.size
    if not contiguous:
        raise ValueError("got memory with gaps, expected contiguous memory")
    return address, size


def pointers(addresses: Sequence[int]) -> ctypes.Array:
    """An array of pointers to these addresses."""
    return (c_void_p * len(addresses))(*addresses)


class Layout:
    """Named segments of one flat buffer."""

    def __init__(self) -> None:
        self.handle = c_void_p()
        check(library.gramstep_layout_create(byref(self.handle)))

    def __del__(self) -> None:
        library.gramstep_layout_destroy(self.handle)

    def add_group(
        self,
        name: str,
        lr_scale: float = 1.0,
        weight_decay: float | None = None,
        maximize: bool | None = None,
    ) -> None:
        options = GroupOptions(
            lr_scale,
            float("nan") if weight_decay is None else weight_decay,
            -1 if maximize is None else int(maximize),
        )
        check(library.gramstep_layout_add_group(self.handle, name.encode(), byref(options)))

    def add(
        self, name: str, shape: Sequence[int], task: int = SHARED, group: str | None = None
    ) -> None:
        sizes = (c_int64 * len(shape))(*shape)
        group_name = None if group is None else group.encode()
        check(
            library.gramstep_layout_add(
                self.handle, name.encode(), sizes, len(shape), task, group_name
            )
        )

    def sizes(self) -> tuple[int, int, int]:
        """Elements of the whole flat buffer, of its shared part, and of the heads' part."""
        sizes = [c_int64() for _ in range(3)]
        check(library.gramstep_layout_sizes(self.handle, *[byref(size) for size in sizes]))
        return sizes[0].value, sizes[1].value, sizes[2].value

    def segment(self, name: str) -> slice:
        """Where a segment is in the flat buffer."""
        offset, size = c_int64(), c_int64()
        check(
            library.gramstep_layout_segment(self.handle, name.encode(), byref(offset), byref(size))
        )
        return slice(offset.value, offset.value + size.value)


@dataclass
class Report:
    """What the last step saw and decided."""

    numbers: ReportNumbers
    weights: np.ndarray  # [K]
    gram: np.ndarray  # [K, K]
    cosines: np.ndarray  # [K, K]
    gradient_norms: np.ndarray  # [K]


class Memory:
    """Somebody's fp32 memory as numpy (np.asarray) or, on CUDA, torch (torch.as_tensor) sees it."""

    def __init__(self, address: int, size: int, device: int, owner: object) -> None:
        protocol = "__cuda_array_interface__" if device == Device.CUDA else "__array_interface__"
        interface = {"data": (address, False), "shape": (size,), "typestr": "<f4", "version": 3}
        setattr(self, protocol, interface)
        self.owner = owner  # a view keeps this object, and so the memory, alive


def default_options(rule: Rule) -> Options:
    """What gramstep_options_init fills in."""
    options = Options()
    check(library.gramstep_options_init(byref(options), rule))
    return options


class Optimizer:
    """An optimizer; `changes` are fields of Options that depart from the rule's defaults."""

    def __init__(self, layout: Layout, rule: Rule, **changes: Any) -> None:
        self.handle = c_void_p()
        self.options = default_options(rule)
        fields = {name for name, _ in Options._fields_}
        if unknown := set(changes) - fields:
            raise TypeError(f"got options {sorted(unknown)}, expected some of {sorted(fields)}")
        if "constant_weights" in changes:
            weights = changes["constant_weights"]
            changes["constant_weights"] = (c_double * len(weights))(*weights)
        for name, value in changes.items():
            setattr(self.options, name, value)
        check(
            library.gramstep_optimizer_create(
                byref(self.handle), layout.handle, byref(self.options)
            )
        )

    def __del__(self) -> None:
        library.gramstep_optimizer_destroy(self.handle)

    def step(
        self, params: Any, rows: Sequence[Any], heads: Any = None, stream: int | None = None
    ) -> None:
        """One step: params, one gradient row a task, the heads' gradients."""
        places = [floats(row) for row in rows]
        row_sizes = {size for _, size in places}
        if len(row_sizes) > 1:
            raise ValueError(f"got rows of sizes {sorted(row_sizes)}, expected one size")
        addresses = pointers([address for address, _ in places])
        row_size = row_sizes.pop() if row_sizes else 0
        check(
            library.gramstep_step(
                self.handle, *floats(params), addresses, len(rows), row_size, *floats(heads), stream
            )
        )

    def set_lr(self, lr: float, stream: int | None = None) -> None:
        check(library.gramstep_set_lr(self.handle, lr, stream))

    def set_loss_scale(self, loss_scale: float, stream: int | None = None) -> None:
        check(library.gramstep_set_loss_scale(self.handle, loss_scale, stream))

    def set_active(self, segment: str, active: bool, stream: int | None = None) -> None:
        check(library.gramstep_set_active(self.handle, segment.encode(), active, stream))

    def report(self, stream: int | None = None) -> Report:
        """What the last step saw and decided; waits for the stream."""
        tasks = self.options.tasks
        numbers = ReportNumbers()
        shapes = [(tasks,), (tasks, tasks), (tasks, tasks), (tasks,)]
        arrays = [np.full(shape, np.nan) for shape in shapes]
        places = [array.ctypes.data_as(POINTER(c_double)) for array in arrays]
        check(library.gramstep_optimizer_report(self.handle, byref(numbers), *places, stream))
        return Report(numbers, *arrays)

    def segment_steps(self, segment: str, stream: int | None = None) -> int:
        steps = c_int64()
        check(library.gramstep_segment_steps(self.handle, segment.encode(), byref(steps), stream))
        return steps.value

    def state_names(self) -> list[str]:
        count = library.gramstep_state_count(self.handle)
        return [library.gramstep_state_name(self.handle, i).decode() for i in range(count)]

    def state(self, name: str) -> Memory:
        """A state buffer, laid out as the parameters, on the optimizer's device."""
        data, size = c_void_p(), c_int64()
        check(library.gramstep_state(self.handle, name.encode(), byref(data), byref(size)))
        return Memory(data.value or 0, size.value, self.options.device, self)

    def copy_state(self, source: Optimizer) -> None:
        check(library.gramstep_copy_state(self.handle, source.handle))
