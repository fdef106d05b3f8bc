"""Writing so that a reader never sees half a file, and hashing what was written."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A place to write what appears at `path` whole when the block ends, or not at all.

    It lies beside its target, is flushed to disk, then renamed; on any error (a full disk, an
    interrupt) the temporary file is removed and an existing file at `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would lock out the rest of a lab
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` whole when the block ends, or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_open(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8 to `path` atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with sorted keys to `path` atomically."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_with(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Let a library's own `save(file)` write to `path` atomically."""
    with atomic_open(path) as file:
        save(file)


def digest(content: Any) -> str:
    """sha256, hex, of a JSON-able value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256, hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `<name>.damaged` (`.damaged-2`, ...) and return its new path.

    Nothing is deleted: the user may still want to look at it, and what replaces it can be made at
    `path` again.
    """
    target = path.with_name(f"{path.name}.damaged")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.damaged-{number}")
    return path.rename(target)
