"""What a failure through the C ABI must look like: a status, and a message that says what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gramstep_c
from gramstep_c import GramstepError, Status

OUT_OF_RANGE = [float("nan"), float("inf"), float("-inf"), -1.0]


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
