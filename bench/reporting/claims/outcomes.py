"""What every test of a claim gives back, and what the tests share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.reporting.claims.evidence import Need, Place
from bench.reporting.claims.model import OTHERS
from bench.reporting.published import Edition

Word = Literal["holds", "fails", "undecided", "not run"]


@dataclass(frozen=True)
class Outcome:
    """A verdict with the number that carries it.

    value, low, high: in `unit`; None where nothing was computed. detail: of what the number is, and
    what else the verdict rests on. needs: the scores that are not at hand.
    """

    verdict: Word
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    detail: str = ""
    needs: tuple[Need, ...] = ()


def together(verdicts: Sequence[Word]) -> Word:
    """Of several parts that must all hold."""
    order: tuple[Word, ...] = ("fails", "not run", "undecided", "holds")
    return min(verdicts, key=order.index)


def once(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Every need once, in order of first mention."""
    kept: list[Need] = []
    for need in needs:
        if need not in kept:
            kept.append(need)
    return tuple(kept)


def rivals_of(
    names: Sequence[str], edition: Edition, place: Place, first: Sequence[str]
) -> list[str]:
    """The named methods, or all others that the edition prints in the column."""
    if tuple(names) != OTHERS:
        return list(names)
    printed = dict.fromkeys(
        number.key.method
        for number in edition.numbers
        if (number.key.train, number.key.test) == place and not number.key.variant
    )
    return [method for method in printed if method not in first]
