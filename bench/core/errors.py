"""Errors that a user can act on."""

import difflib
from collections.abc import Callable, Iterable

from pydantic import ValidationError


class BenchError(Exception):
    """A user's mistake or a missing input; the text names the value, the rule and the next step.

    The command line prints the text without a traceback and exits with status 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str], next_step: str = "") -> BenchError:
    """The error for a name that is not in a closed list, with the nearest match first."""
    names = sorted(known)
    name = name if len(name) <= 200 else f"{name[:200]}..."
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return BenchError(
        f"No {kind} named {name!r}.{hint} Known: {', '.join(names) or 'none'}. {next_step}".rstrip()
    )


Place = tuple[str | int, ...]

SHOWN = 10  # faults in one message


def faults(error: ValidationError, line_of: Callable[[Place], int | None] | None = None) -> str:
    """What is wrong with each field: its path, the value, shortened, and the rule; once each.

    line_of: gives the line of a field's path in the file, to be named first.
    """
    said: dict[str, None] = {}
    for fault in error.errors(include_url=False, include_context=False):
        where, value = ".".join(map(str, fault["loc"])) or "all", fault["input"]
        given = f"={_short(value)}" if isinstance(value, str | int | float) else ""
        line = line_of(fault["loc"]) if line_of else None
        at = "" if line is None else f"line {line}, "
        said[f"{at}{where}{given}: {fault['msg'].removeprefix('Value error, ')}"] = None
    more = [f"and {len(said) - SHOWN} more"] if len(said) > SHOWN else []
    return "; ".join([*list(said)[:SHOWN], *more])


def _short(value: str | float) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."
