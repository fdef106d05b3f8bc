"""Ending a worker in order: a training that is asked to stop stores its last whole epoch first.

A state is a function of whole epochs, so an epoch that is under way is lost. Where the epochs before
it are stored, the training ends at its next step; else at the end of this epoch, which takes
less than the time between two stored states.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

STATUS = 143  # of the process, as the shell reports SIGTERM


class StopAsked(BaseException):
    """The training ended on request; no Exception, so that a method's code cannot swallow it."""


class _Stop:
    asked = False
    training = False


def on_signal(number: int, frame: FrameType | None) -> None:
    """Ask the training to stop; end the process where none is under way: files are written whole."""
    if not _Stop.training:
        os._exit(128 + number)
    _Stop.asked = True


@contextmanager
def stoppable(
    state: Path, store_now: Callable[[], None]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Gives the function to call with each progress event of a training; it raises StopAsked.

    state: the file that the training stores its state in. store_now: called when the state of the
    epoch that just ended has to be stored.
    """
    unsaved, stamp = False, _stamp(state)

    def see(event: dict[str, Any]) -> None:
        nonlocal unsaved, stamp
        if "step" not in event:  # an epoch ended; its state is stored after this call, if at all
            unsaved, stamp = True, _stamp(state)
            if _Stop.asked:
                store_now()
        elif _Stop.asked and (not unsaved or _stamp(state) != stamp):
            raise StopAsked
        elif unsaved and _stamp(state) != stamp:
            unsaved = False

    _Stop.training = True
    try:
        yield see
    finally:
        _Stop.training = False
    if _Stop.asked:
        raise StopAsked


def _stamp(file: Path) -> tuple[int, int]:
    """What changes when the file is written anew."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return (0, 0)
    return found.st_mtime_ns, found.st_ino
