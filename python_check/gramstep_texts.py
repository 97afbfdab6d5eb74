"""Aggregators, rules and schedules as text, which is how the C ABI takes them."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_size_t
from typing import Any

import numpy as np

from gramstep_abi import check, library


def named(name: str, **options: Any) -> str:
    """The text of an aggregator, a rule or a schedule: its name, and options by name."""

    def written(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int):
            return str(value)
        if np.ndim(value) == 1:
            return "[" + ", ".join(repr(float(each)) for each in value) + "]"
        return repr(float(value))

    pairs = [f"{option}={written(value)}" for option, value in options.items()]
    return f"{name}({', '.join(pairs)})" if pairs else name


def names_of(kind: str) -> list[str]:
    """The names of all of a kind ("aggregator", "rule" or "schedule") that the library has."""
    name = getattr(library, f"gramstep_{kind}_name")
    return [name(i).decode() for i in range(getattr(library, f"gramstep_{kind}_count")())]


def full_text(kind: str, text: str) -> str:
    """The text with all options, of a text of that kind."""
    write, needed = getattr(library, f"gramstep_{kind}_text"), c_size_t()
    check(write(text.encode(), None, 0, byref(needed)))
    room = ctypes.create_string_buffer(needed.value)
    check(write(text.encode(), room, needed.value, None))
    return room.value.decode()


def aggregator_names() -> list[str]:
    """The names of all aggregators of the library."""
    return names_of("aggregator")


def aggregator_text(aggregator: str) -> str:
    """An aggregator's text with all its options."""
    return full_text("aggregator", aggregator)
