"""Checksums of cached files, verified once per file and modification time.

The checksum of `x.npy` lies beside it in `x.npy.sha256`, in the format of `sha256sum -c`. The
modification time of that small file is the marker: once `x.npy` is verified, both files have the
same one, and no process hashes `x.npy` again until it is written to. A copy of a cache, or a cache
that a process may not write to, is hashed again: that costs time and is never wrong.
"""

import hashlib
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from bench.core.files import atomic_path, file_digest, set_aside, write_bytes

SETTLED_NS = 100_000_000
"""Age in nanoseconds from which a file's modification time tells its states apart: clocks of file
systems tick up to every 10 ms, so a write soon after another may leave the time as it was."""

_log = logging.getLogger("bench")


class Damaged(Exception):
    """A cached file is not what was written; the text says which file and why."""


def seal(path: Path, sha256: str | None = None) -> None:
    """Write the checksum of `path` beside it, marked as not verified yet.

    sha256: hex, where the caller has it already, because `path` does not exist yet.
    """
    line = f"{sha256 or file_digest(path)}  {path.name}\n"
    with atomic_path(_seal_of(path)) as temporary:
        temporary.write_text(line, encoding="utf-8")
        os.utime(temporary, ns=(0, 0))


def write_sealed(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, with its checksum.

    The checksum comes first: a process that finds the file finds its checksum too.
    """
    seal(path, hashlib.sha256(content).hexdigest())
    write_bytes(path, content)


def verify(path: Path) -> None:
    """Damaged unless `path` exists and has the sha256 that `seal` stored."""
    try:
        state, marker = path.stat(), _seal_of(path).stat()
        if marker.st_mtime_ns == state.st_mtime_ns:
            return
        stored = _seal_of(path).read_text(encoding="utf-8", errors="replace")
        found = file_digest(path)
    except FileNotFoundError as error:
        raise Damaged(f"{error.filename} is missing") from error
    if stored != f"{found}  {path.name}\n":
        raise Damaged(f"{path} does not have the sha256 in {_seal_of(path).name}")
    if time.time_ns() - state.st_mtime_ns > SETTLED_NS:
        with suppress(OSError):  # a cache of another user: verified again by every process
            os.utime(_seal_of(path), ns=(state.st_atime_ns, state.st_mtime_ns))


def discard(path: Path, damage: Damaged) -> None:
    """Name a damaged file or folder in a warning and set it aside; it is made anew by the caller."""
    with suppress(FileNotFoundError):  # another process was faster
        kept = set_aside(path)
        _log.warning("%s. It is kept as %s and made anew.", damage, kept.name)


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
