"""Memory of numpy and torch as the C ABI takes it, and the library's as they see it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_void_p
from typing import Any

from gramstep_abi import Device, DType, Gradients

# By the end of a dtype's name, of numpy or torch; and by what numpy calls it.
DTYPES = {
    "float32": DType.FLOAT32,
    "bfloat16": DType.BFLOAT16,
    "float16": DType.FLOAT16,
}
TYPE_STRINGS = {
    DType.FLOAT32: "<f4",
    DType.BFLOAT16: "<i2",  # of which numpy has none: its bits
    DType.FLOAT16: "<f2",
    DType.INT16: "<i2",
    DType.DYNAMIC8: "|u1",
}


def elements(memory: Any, dtype: int) -> tuple[int, int]:
    """Address and number of elements of contiguous memory of that type; (0, 0) for None."""
    if memory is None:
        return 0, 0
    name = str(memory.dtype).removeprefix("torch.")
    if DTYPES.get(name) != dtype:
        raise TypeError(f"got memory of {name}, expected {DType(dtype).name.lower()}")
    if hasattr(memory, "data_ptr"):
        contiguous, address, size = memory.is_contiguous(), memory.data_ptr(), memory.numel()
    else:
        contiguous, address, size = memory.flags.c_contiguous, memory.ctypes.data, memory.size
    if not contiguous:
        raise ValueError("got memory with gaps, expected contiguous memory")
    return address, size


def floats(memory: Any) -> tuple[int, int]:
    """The same of fp32 memory."""
    return elements(memory, DType.FLOAT32)


def pointers(addresses: Sequence[int]) -> ctypes.Array:
    """An array of pointers to these addresses."""
    return (c_void_p * len(addresses))(*addresses)


def gradients_of(
    rows: Sequence[Any],
    heads: Any = None,
    losses: Any = None,
    grad_scale: Any = None,
    found_inf: Any = None,
    dtype: int = DType.FLOAT32,
) -> Gradients:
    """One gradient row a task and the heads' gradients, of that type, the losses, and one number
    each for the loss scale and for whether something not finite was found; all must outlive it."""
    places = [elements(row, dtype) for row in rows]
    row_sizes = {size for _, size in places}
    if len(row_sizes) > 1:
        raise ValueError(f"got rows of sizes {sorted(row_sizes)}, expected one size")
    addresses = pointers([address for address, _ in places])
    return Gradients(
        ctypes.sizeof(Gradients),
        ctypes.cast(addresses, POINTER(c_void_p)),  # which keeps the array alive
        row_sizes.pop() if row_sizes else 0,
        *elements(heads, dtype),
        *floats(losses),
        floats(grad_scale)[0],
        floats(found_inf)[0],
        len(rows),
    )


class Memory:
    """Somebody's memory as numpy (np.asarray) or, on CUDA, torch (torch.as_tensor) sees it."""

    def __init__(
        self, address: int, size: int, device: int, owner: object, dtype: int = DType.FLOAT32
    ) -> None:
        protocol = "__cuda_array_interface__" if device == Device.CUDA else "__array_interface__"
        interface = {
            "data": (address, False),
            "shape": (size,),
            "typestr": TYPE_STRINGS[DType(dtype)],
            "version": 3,
        }
        setattr(self, protocol, interface)
        self.owner = owner  # a view keeps this object, and so the memory, alive
        self.dtype = DType(dtype)
