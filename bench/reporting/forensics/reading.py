"""A number of a table, with the values that it may stand for."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Literal

Way = Literal["rounded", "truncated"]
WAYS: tuple[Way, ...] = ("rounded", "truncated")

EXACT = 1e-9
"""Half-width of the range of a number that is known in full, for the error of its summation."""


@dataclass(frozen=True)
class Reading:
    """A number in the unit of its column. ranges: (lowest, highest) by way of printing."""

    value: float
    text: str
    ranges: dict[Way, tuple[float, float]]

    @property
    def low(self) -> float:
        """The least value that any way of printing leaves possible."""
        return min(low for low, _ in self.ranges.values())

    @property
    def high(self) -> float:
        """The greatest value that any way of printing leaves possible."""
        return max(high for _, high in self.ranges.values())


def printed(text: str) -> Reading:
    """A printed number: its last digit was rounded, or what followed was cut off."""
    exact = Decimal(text)
    unit = Decimal(1).scaleb(int(exact.as_tuple().exponent))
    ranges: dict[Way, tuple[float, float]] = {
        "rounded": (float(exact - unit / 2), float(exact + unit / 2)),
        "truncated": (float(exact), float(exact + unit)),
    }
    return Reading(float(exact), text, ranges)


def computed(value: float) -> Reading:
    """A number known in full."""
    around = (value - EXACT, value + EXACT)
    return Reading(value, repr(value), dict.fromkeys(WAYS, around))


def printed_as(value: float, way: Way, like: str) -> str:
    """`value` with as many decimals as the text `like`, rounded half up or truncated."""
    rule = ROUND_DOWN if way == "truncated" else ROUND_HALF_UP
    return str(Decimal(repr(value)).quantize(Decimal(like), rounding=rule))
