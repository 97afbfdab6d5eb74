"""Layouts through gramstep's C ABI."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref, c_int64, c_void_p

from gramstep_abi import SHARED, GroupOptions, check, library


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
        elementwise: bool = False,
    ) -> None:
        """elementwise: rules that treat matrices apart take none of its segments as one."""
        options = GroupOptions(
            lr_scale,
            float("nan") if weight_decay is None else weight_decay,
            -1 if maximize is None else int(maximize),
            int(elementwise),
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
