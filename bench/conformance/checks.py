"""Does a plugin keep the contract? Reports that say what to change.

`check_method`, `check_tokenizer` and `check_dataset` run a list of named checks one after another.
A check returns a sentence on success; it raises `Broken` with what to change, or `Skipped` with a
reason. Any other exception counts as broken and is reported with the place where it was raised.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.core.frozen import Frozen
from bench.core.time_limit import TooSlow, time_limit


class Broken(Exception):
    """The contract is broken; the text says what to change."""


class Skipped(Exception):
    """The check does not apply; the text says why."""


class Check(Frozen):
    """The outcome of one check; `message` says what was seen, or what to change."""

    name: str
    status: Literal["pass", "fail", "skip"]
    message: str
    seconds: float


class CheckReport(Frozen):
    """All checks of one method, tokenizer or dataset, in the order they ran.

    settings: what a method was checked under: its `reduced` settings and the user's own.
    """

    kind: Literal["method", "tokenizer", "dataset"]
    name: str
    settings: dict[str, Any] = {}
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; skipped checks do not count against it."""
        return all(check.status != "fail" for check in self.checks)

    def failures(self) -> str:
        """One line per failed check, empty when all is well."""
        return "\n".join(f"{c.name}: {c.message}" for c in self.checks if c.status == "fail")


Step = tuple[str, Callable[[], str]]
"""A check: its name, and what does it."""


GIVE_UP = 600.0  # seconds for one check
OnCheck = Callable[[Check], None]


def run_checks(
    steps: Sequence[Step],
    vital: frozenset[str] = frozenset(),
    on_check: OnCheck = lambda check: None,
    give_up: float = GIVE_UP,
) -> tuple[Check, ...]:
    """Run every check; after a failed `vital` one the rest is skipped, since it could not run.

    on_check: called with each outcome as it is there. give_up: seconds after which a check fails.
    """
    results: list[Check] = []
    stopper: str | None = None
    for name, action in steps:
        if stopper is None:
            results.append(_run(name, action, give_up))
            if name in vital and results[-1].status == "fail":
                stopper = name
        else:
            reason = f"not tried: `{stopper}` has to pass first"
            results.append(Check(name=name, status="skip", message=reason, seconds=0.0))
        on_check(results[-1])
    return tuple(results)


def _run(name: str, action: Callable[[], str], give_up: float) -> Check:
    started = time.perf_counter()
    status: Literal["pass", "fail", "skip"] = "pass"
    try:
        with time_limit(give_up):
            message = action()
    except TooSlow:
        status = "fail"
        message = f"Given up after {give_up:g} s. Make it faster, or allow more: --give-up SECONDS."
    except Skipped as reason:
        status, message = "skip", str(reason)
    except (Broken, BenchError) as fault:
        status, message = "fail", str(fault)
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported
        status, message = "fail", f"{type(error).__name__}: {error} (at {_place(error)})"
    return Check(
        name=name, status=status, message=message, seconds=round(time.perf_counter() - started, 3)
    )


def _place(error: BaseException) -> str:
    """`file.py:12 in forward`: the innermost frame that is not a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}"
