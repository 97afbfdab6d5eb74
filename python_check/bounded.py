"""Arrays in float64 with a bound on the error of the fp32 numbers that stand for them.

Running error analysis (Wilkinson 1986; Higham, "Accuracy and Stability of Numerical Algorithms",
section 3.3): every operation passes its operands' errors on and adds one rounding of its own. So a
formula written in these arrays says what is right and, for every element, how far an fp32
implementation with no more roundings than the formula may be from it. Nothing is tuned.
"""

from __future__ import annotations

import numpy as np

# One rounding to fp32, relative; 2^-10 of it is room for what float64 itself rounds.
UNIT = 2.0**-24 * (1 + 2.0**-10)

# What flushing a subnormal number to zero changes at most.
FLUSH = 2.0**-126

# gramstep rounds a product and a sum where torch's kernels mostly take an fma: at most twice as
# many roundings, and so at most twice torch's error.
ROUNDINGS_BESIDE_TORCH = 2.0

# Units in the last place of the largest value: room for errors that happen to be small in torch.
FEW_ULPS = 4.0

Operand = "Bounded | np.ndarray | float"


class Bounded:
    """Values, and how far the fp32 numbers that stand for them may be from them."""

    def __init__(self, value: np.ndarray | float, error: np.ndarray | float = 0.0) -> None:
        self.value = np.asarray(value, dtype=np.float64)
        self.error = np.broadcast_to(np.asarray(error, dtype=np.float64), self.value.shape)

    def __neg__(self) -> Bounded:
        return Bounded(-self.value, self.error)

    def __add__(self, other: Operand) -> Bounded:
        other = bounded(other)
        return rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other: Operand) -> Bounded:
        return self + -bounded(other)

    def __mul__(self, other: Operand) -> Bounded:
        other = bounded(other)
        error = (
            np.abs(self.value) * other.error
            + self.error * np.abs(other.value)
            + self.error * other.error
        )
        return rounded(self.value * other.value, error)

    __rmul__ = __mul__

    def __truediv__(self, other: Bounded) -> Bounded:
        smallest = np.abs(other.value) - other.error
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.value / other.value
            error = (self.error + np.abs(value) * other.error) / smallest
        return rounded(value, np.where(smallest > 0, error, np.inf))


def bounded(operand: Operand) -> Bounded:
    """The operand; plain numbers are constants, rounded once unless fp32 holds them."""
    if isinstance(operand, Bounded):
        return operand
    value = np.asarray(operand, dtype=np.float64)
    exact = value.astype(np.float32) == value
    return Bounded(value, np.where(exact, 0.0, UNIT * np.abs(value)))


def rounded(value: np.ndarray, error: np.ndarray) -> Bounded:
    """The fp32 result of an operation whose operands left it with `error`."""
    return Bounded(value, error + UNIT * (np.abs(value) + error) + FLUSH)


def given(values: np.ndarray) -> Bounded:
    """fp32 input: exact, but a subnormal number may be read as zero."""
    value = np.asarray(values, dtype=np.float64)
    return Bounded(value, np.where(np.abs(value) < FLUSH, np.abs(value), 0.0))


def sqrt(x: Bounded) -> Bounded:
    """The root of numbers that are not negative, nor is what stands for them."""
    root = np.sqrt(x.value)
    below = root - np.sqrt(np.maximum(x.value - x.error, 0.0))
    above = np.sqrt(x.value + x.error) - root
    return rounded(root, np.maximum(below, above))


def maximum(a: Bounded, b: Bounded) -> Bounded:
    """The larger; exact, as every comparison is."""
    return Bounded(np.maximum(a.value, b.value), np.maximum(a.error, b.error))


def absolute(x: Bounded) -> Bounded:
    """The size; exact."""
    return Bounded(np.abs(x.value), x.error)


def positive_part(x: Bounded) -> Bounded:
    """max(x, 0); exact."""
    return Bounded(np.maximum(x.value, 0.0), x.error)


def sign(x: Bounded) -> Bounded:
    """-1, 0 or 1; anything between -1 and 1 where the error may have changed it."""
    return Bounded(np.sign(x.value), np.where(x.error < np.abs(x.value), 0.0, 2.0 * (x.error > 0)))


def where(condition: np.ndarray, a: Bounded, b: Bounded) -> Bounded:
    """a where the condition holds, else b."""
    return Bounded(np.where(condition, a.value, b.value), np.where(condition, a.error, b.error))
