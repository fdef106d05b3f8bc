"""The lock on a cell's folder: one process at a time trains or scores it, on any host.

The lock is a lease: a file that its holder makes with O_EXCL, which is atomic on network file
systems too, and touches every BEAT seconds. On the holder's own host the lease ends with the holder's
process, at once. On other hosts it ends when the file was not touched for SILENCE seconds. A holder
that wakes up after that (its host was suspended, say) finds another's lease and ends its process
before it writes anything more.
"""

import json
import os
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.provenance import now

LOCK = ".lock"

BEAT = 15.0  # seconds between two touches of a lease

SILENCE = 180.0
"""Seconds without a touch after which a lease of another host has ended. Network file systems show
changes of other hosts up to 60 s late (NFS: acregmax)."""

LOST = 75  # exit status of a process whose lease another one took


class CellInUse(BenchError):
    """Another process works on the cell and will record how that ends."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a cell's folder, which is made. Raises CellInUse with the holder's name."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = _lease()
    _take(folder, mine)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder / LOCK, mine["token"], ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        if _read(folder / LOCK).get("token") == mine["token"]:
            (folder / LOCK).unlink(missing_ok=True)


def in_use(folder: Path) -> bool:
    """Whether a process holds the lock of a cell's folder."""
    return _lives(folder / LOCK, _read(folder / LOCK))


def holder(folder: Path) -> str:
    """`process 123 on HOST since 2026-01-01T12:00:00+00:00`, as far as the lock's file says it."""
    found = _read(folder / LOCK)
    try:
        job = f" ({found['job']})" if found.get("job") else ""
        return f"process {found['pid']}{job} on {found['host']} since {found['since']}"
    except KeyError:
        return "another process"


# -- one lease --------------------------------------------------------------------------------


def _lease() -> dict[str, Any]:
    """What this process writes into a lease. token: of this lease alone."""
    job = os.environ.get("SLURM_JOB_ID")
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": now(),
        "token": uuid.uuid4().hex,
        "machine": _machine(),
        "started": _started(os.getpid()),
        "job": f"Slurm job {job}" if job else "",
    }


@cache
def _machine() -> str:
    """Where process numbers mean the same processes: host, its boot, and the container's numbering."""
    if sys.platform != "linux":
        return socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # a sandbox that hides them
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process of this machine started, in ticks since its boot; "" where it is gone.

    Together with its number it names a process: numbers are used again.
    """
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "running"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie holds nothing


def _read(file: Path) -> dict[str, Any]:
    """The words of a lease; {} where there are none, or half of them, or those of another version."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lives(file: Path, lease: dict[str, Any]) -> bool:
    """Whether a lease is there and its holder still works, as far as can be seen from here."""
    if lease.get("machine") == _machine():
        return file.exists() and _started(int(lease["pid"])) == lease["started"]
    silent = _silent(file)
    return silent is not None and silent < SILENCE


def _silent(file: Path) -> float | None:
    """Seconds since a lease was touched; None where it is gone.

    This host's clock may differ from the file system's, which stamped the lease. Unless both agree
    that the touch was recent, the stamp of a new file is taken for the time.
    """
    try:
        with file.open() as opened:  # opening makes a network file system fetch the stamp
            touched = os.fstat(opened.fileno()).st_mtime
    except FileNotFoundError:
        return None
    age = time.time() - touched
    if 0 <= age < SILENCE / 2:
        return age
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f"{LOCK}.") as fresh:
            return os.fstat(fresh.fileno()).st_mtime - touched
    except OSError:  # a folder that this process may only read
        return max(0.0, age)


# -- taking and keeping -----------------------------------------------------------------------


def _take(folder: Path, mine: dict[str, Any]) -> None:
    """Make the lease this process's own. Raises CellInUse."""
    file = folder / LOCK
    if _make(file, mine):
        return
    found = _read(file)
    if _lives(file, found) or not _replace(file, found, mine):
        raise CellInUse(f"Cell {folder.name} is in use by {holder(folder)}.")


def _make(file: Path, lease: dict[str, Any]) -> bool:
    """Write a lease that is not there; False where one is."""
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with open(handle, "w") as opened:
            json.dump(lease, opened)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:  # a full disk
        file.unlink(missing_ok=True)
        raise
    return True


def _replace(file: Path, ended: dict[str, Any], mine: dict[str, Any]) -> bool:
    """Put a lease in the place of one that has ended; False where another process does so.

    Of all processes that saw the ended lease, one makes the file that is named after it, and that one
    alone may replace it. It looks again first: the ended lease may be replaced already.
    """
    claim = file.with_name(f"{LOCK}.after-{ended.get('token', 'none')}")
    if not _make(claim, mine):
        if not _lives(claim, _read(claim)):
            claim.unlink(missing_ok=True)  # its maker ended between two lines of this function
        return False
    try:
        again = _read(file)
        if again != ended or _lives(file, again):
            return _make(file, mine)  # released in between, or taken
        os.replace(claim, file)
        os.utime(file)
        return True
    finally:
        if _read(claim).get("token") == mine["token"]:
            claim.unlink(missing_ok=True)


def _beat(file: Path, token: str, ended: threading.Event) -> None:
    """Touch the lease until its holder lets go; end the process where another one took it."""
    while not ended.wait(BEAT):
        try:
            found = _read(file)
            if found.get("token", token) != token:
                sys.stderr.write(f"{file.parent.name}: {holder(file.parent)} took this cell\n")
                sys.stderr.flush()
                os._exit(LOST)
            os.utime(file)
        except OSError:  # the file system is away, or the folder was deleted
            pass
