"""The lock on a cell's folder: one process at a time trains or scores it.

The system releases it when the process ends, however that ends. Its file names the holder.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.core.errors import BenchError
from bench.core.provenance import now

LOCK = ".lock"


class CellInUse(BenchError):
    """Another process works on the cell and will record how that ends."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a cell's folder, which is made. Raises CellInUse with the holder's name."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:  # "w" would empty the holder's words
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CellInUse(f"Cell {folder.name} is in use by {holder(folder)}.") from error
        _write(file)
        yield


def _write(file: IO[str]) -> None:
    file.truncate(0)
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}, file)
    file.flush()


def holder(folder: Path) -> str:
    """`process 123 on HOST since 2026-01-01T12:00:00+00:00`, as far as the lock's file says it."""
    try:
        found = json.loads((folder / LOCK).read_text())
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def in_use(folder: Path) -> bool:
    """Whether a process holds the lock of a cell's folder."""
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
