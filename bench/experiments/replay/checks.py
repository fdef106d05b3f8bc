"""The outcome of one check, and of all checks of a cell."""

from collections.abc import Sequence
from typing import Literal

from bench.core.frozen import Frozen

SHOWN = 3  # faults of one check that are spelled out; the others are counted


class Check(Frozen):
    """One check of a cell.

    outcome: "skipped" where what the check needs is not at hand, which is neither good nor bad.
    detail: what was compared, what is wrong, or what is missing.
    """

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str


class Verification(Frozen):
    """All checks of one cell.

    adopted: the cell's new id, where it was moved. adoption: what came of the wish to adopt it, ""
    where nobody had it; refused: whether it should have moved and could not.
    """

    cell: str
    checks: tuple[Check, ...]
    adopted: str | None = None
    adoption: str = ""
    refused: bool = False

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found a fault."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def state(self) -> Literal["verified", "in part", "failed"]:
        """ "in part": no check failed and some could not be made here."""
        if self.failed:
            return "failed"
        skipped = any(check.outcome == "skipped" for check in self.checks)
        return "in part" if skipped else "verified"


def passed(name: str, detail: str) -> Check:
    """A check that found no fault."""
    return Check(name=name, outcome="passed", detail=detail)


def skipped(name: str, why: str) -> Check:
    """A check that could not be made here."""
    return Check(name=name, outcome="skipped", detail=why)


def judged(name: str, faults: Sequence[str], compared: str) -> Check:
    """Failed with the first faults, or passed with what was compared."""
    if not faults:
        return passed(name, compared)
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return Check(name=name, outcome="failed", detail="; ".join(faults[:SHOWN]) + more)
