"""The stages alone through the C ABI: Gram matrix, weights of given Gram matrices, combination.

All memory is the aggregation's device's: numpy arrays on the CPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_double, c_int32, c_int64, c_void_p
from typing import Any

import numpy as np

from gramstep_abi import AggregationOptions, check, library
from gramstep_memory import elements, floats, pointers


def doubles(memory: np.ndarray) -> int:
    """The address of contiguous float64 memory."""
    if memory.dtype != np.float64 or not memory.flags.c_contiguous:
        raise TypeError(f"got memory of {memory.dtype}, expected contiguous float64")
    return memory.ctypes.data


class Aggregation:
    """An aggregator without an optimizer: B matrices of K tasks at once, rows of `size` floats."""

    def __init__(
        self, aggregator: str, tasks: int, size: int = 0, batch: int = 1, **changes: Any
    ) -> None:
        self.handle = c_void_p()
        self.options = AggregationOptions()
        check(library.gramstep_aggregation_options_init(byref(self.options)))
        changes |= {"aggregator": aggregator.encode(), "tasks": tasks, "size": size, "batch": batch}
        for name, value in changes.items():
            setattr(self.options, name, value)
        check(library.gramstep_aggregation_create(byref(self.handle), byref(self.options)))

    def __del__(self) -> None:
        library.gramstep_aggregation_destroy(self.handle)

    def rows(self, rows: Sequence[np.ndarray]) -> ctypes.Array:
        """Pointers to rows of the right size."""
        places = [elements(row, self.options.gradients) for row in rows]
        if any(size != self.options.size for _, size in places):
            raise ValueError(f"got rows of sizes {places}, expected {self.options.size}")
        return pointers([address for address, _ in places])

    def gram(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """G [K, K] of rows."""
        gram = np.full((len(rows), len(rows)), np.nan)
        handle, places = self.handle, self.rows(rows)
        check(library.gramstep_aggregation_gram(handle, places, len(rows), doubles(gram), None))
        return gram

    def weights(self, gram: np.ndarray, losses: np.ndarray | None = None) -> np.ndarray:
        """Weights [B, K] of Gram matrices [B, K, K]."""
        gram = np.ascontiguousarray(gram)
        weights = np.full((self.options.batch, self.options.tasks), np.nan)
        assert gram.shape == (*weights.shape, self.options.tasks)
        places = (doubles(gram), doubles(weights), *floats(losses))
        check(library.gramstep_aggregation_weights(self.handle, *places, None))
        return weights

    def combine(self, rows: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
        """d [N] of rows."""
        combined = np.full(self.options.size, np.nan, np.float32)
        places = (self.rows(rows), len(rows), doubles(weights), combined.ctypes.data)
        check(library.gramstep_aggregation_combine(self.handle, *places, None))
        return combined

    def solutions(self) -> tuple[np.ndarray, np.ndarray]:
        """Iterations and residuals of the last weights, [B] each."""
        iterations = np.full(self.options.batch, -1, np.int32)
        residuals = np.full(self.options.batch, np.nan)
        places = (
            iterations.ctypes.data_as(POINTER(c_int32)),
            residuals.ctypes.data_as(POINTER(c_double)),
        )
        check(library.gramstep_aggregation_solutions(self.handle, *places, None))
        return iterations, residuals

    def steps(self) -> int:
        """How many times weights() was called."""
        steps = c_int64()
        check(library.gramstep_aggregation_steps(self.handle, byref(steps), None))
        return steps.value

    def set_steps(self, steps: int) -> None:
        check(library.gramstep_aggregation_set_steps(self.handle, steps, None))

    def plan_state(self, name: str) -> np.ndarray:
        """A copy of a piece of the aggregator's state."""
        call, what = library.gramstep_aggregation_plan_state, (self.handle, name.encode())
        size = c_int64()
        check(call(*what, None, 0, byref(size), None))
        values = np.full(size.value, np.nan)
        place = values.ctypes.data_as(POINTER(c_double))
        check(call(*what, place, values.size, None, None))
        return values

    def set_plan_state(self, name: str, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, dtype=np.float64)
        place = values.ctypes.data_as(POINTER(c_double))
        call = library.gramstep_aggregation_set_plan_state
        check(call(self.handle, name.encode(), place, values.size, None))
