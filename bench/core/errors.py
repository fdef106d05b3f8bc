"""Errors that a user can act on."""

import difflib
from collections.abc import Iterable

from pydantic import ValidationError


class BenchError(Exception):
    """A user's mistake or a missing input; the text names the value, the rule and the next step.

    The command line prints the text without a traceback and exits with status 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str], next_step: str = "") -> BenchError:
    """The error for a name that is not in a closed list, with the nearest match first."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return BenchError(
        f"No {kind} named {name!r}.{hint} Known: {', '.join(names) or 'none'}. {next_step}".rstrip()
    )


def faults(error: ValidationError) -> str:
    """What is wrong with each field: its path, the value where that is short, and the rule."""
    said = []
    for fault in error.errors():
        where, value = ".".join(map(str, fault["loc"])) or "all", fault["input"]
        given = f"={value!r}" if isinstance(value, str | int | float) else ""
        said.append(f"{where}{given}: {fault['msg']}")
    return "; ".join(said)
