"""Turning what a disk refuses into an error that a user can act on."""

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.core.errors import BenchError

_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space, or choose a folder on another disk",
    errno.EDQUOT: "your disk quota is used up. Free some space, or choose another folder",
    errno.EROFS: "it lies on a read-only disk. Choose a folder that you may write to",
    errno.EACCES: "you may not write there. Choose a folder that you may write to",
    errno.EPERM: "you may not write there. Choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file. Choose a folder",
    errno.EEXIST: "a file of that name lies there. Choose another folder",
    errno.ENAMETOOLONG: "the name is longer than the disk allows. Choose a shorter one",
}


def disk_reason(error: OSError) -> str | None:
    """What the disk refuses and what to do about it; None for an error of another kind."""
    return _REASONS.get(error.errno or 0)


@contextmanager
def disk_errors(
    task: str, folder: Path, kept: str = "Nothing half-written was kept."
) -> Iterator[None]:
    """Within the block, a full, read-only or forbidden disk raises BenchError.

    task: what was being done, for the message ("prepare busi"). kept: what remains, which is
    the caller's doing. Other OSErrors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        reason = disk_reason(error)
        if reason is None:
            raise
        raise BenchError(f"Cannot {task} in {folder}: {reason}. {kept}") from error


STALE_SECONDS = 24 * 3600


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A fresh hidden folder in `parent` for building `name`; removed when the block ends.

    Beside its target, so that the result can be renamed into place. Folders that a killed process
    left for the same name are removed after a day.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f".{name}.building-*"):
        with suppress(FileNotFoundError):  # another process that builds the same has just ended
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.building-"))
    folder.chmod(0o755)  # mkdtemp's 0700 would lock out the rest of a lab
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
