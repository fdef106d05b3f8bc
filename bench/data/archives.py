"""Listing a dataset's files, in a folder or in archives, without trusting any of them."""

import errno
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from bench.core.errors import BenchError

MAX_FILES = 300_000
"""HAM10000 has 20,031 files; a folder with more than this is no dataset's own folder."""

MAX_BYTES = 32 * 2**30
"""Declared size after unpacking; the largest shipped card (HAM10000) needs 3 GiB."""

MAX_DEPTH = 8
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass
class Budget:
    """What may still be unpacked; nested archives draw on the same one."""

    bytes_left: int = MAX_BYTES
    files_left: int = MAX_FILES

    def take(self, archive: Path, size: int) -> None:
        """Account for one member of `size` declared bytes; BenchError when too much."""
        self.bytes_left -= size
        self.files_left -= 1
        if self.bytes_left < 0 or self.files_left < 0:
            raise BenchError(
                f"{archive.name} would unpack to more than {MAX_BYTES / 2**30:.0f} GiB or "
                f"{MAX_FILES} files, which no dataset here does. If you trust it, unpack it "
                "yourself and name the folder."
            )


def list_files(source: Path, workspace: Path) -> dict[str, Path]:
    """Every file of a dataset: logical path (forward slashes) -> where its bytes lie.

    source: a folder or a .zip/.tar/.tar.gz file. Archives, also those inside folders and other
    archives, are unpacked under `workspace` and appear as a folder named like the archive, unless
    that folder already lies beside it. Hidden files and `__MACOSX` are skipped.
    Raises BenchError for a missing source, an unsafe or damaged archive, or too many files.
    """
    if not source.exists():
        raise BenchError(f"{source} does not exist. Name the folder or zip you downloaded.")
    budget = Budget()
    if source.is_dir():
        files = list_folder(source)
    else:
        files = _unpacked(source, workspace / "0", budget)
    return _expanded(files, workspace, budget)


def list_folder(folder: Path) -> dict[str, Path]:
    """Logical path -> path of every visible file under a folder, archives left as they are."""
    files: dict[str, Path] = {}
    seen: set[str] = set()  # folders by real path: a link to a parent must not loop
    for here, folders, names in os.walk(folder, followlinks=True):
        relative = Path(here).relative_to(folder)
        real = os.path.realpath(here)
        if real in seen or len(relative.parts) >= MAX_DEPTH:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if _visible(name))
        for name in filter(_visible, sorted(names)):
            # A name that is not UTF-8 could be written to no report and no index.
            logical = os.fsencode((relative / name).as_posix()).decode("utf-8", "backslashreplace")
            files[logical] = Path(here) / name
        if len(files) > MAX_FILES:
            raise BenchError(
                f"{folder} holds more than {MAX_FILES} files. Name the dataset's own folder."
            )
    return files


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _stem(path: str) -> str | None:
    """The path without its archive suffix; None when it is no archive's."""
    for suffix in SUFFIXES:
        if path.lower().endswith(suffix):
            return path[: -len(suffix)]
    return None


def _expanded(files: dict[str, Path], workspace: Path, budget: Budget) -> dict[str, Path]:
    """`files` with every archive among them replaced by its members."""
    result = {path: at for path, at in files.items() if _stem(path) is None}
    for path, at in files.items():
        stem = _stem(path)
        if stem is None or any(other.startswith(f"{stem}/") for other in files):
            continue
        inside = _unpacked(at, workspace / str(budget.files_left), budget)
        nested = _expanded(inside, workspace, budget)
        result |= {f"{stem}/{member}": where for member, where in nested.items()}
    return result


def _unpacked(archive: Path, target: Path, budget: Budget) -> dict[str, Path]:
    if not archive.is_file():
        raise BenchError(
            f"{archive} is a pipe or a device. Name the folder or archive as published."
        )
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _write(archive, target, _zip_members(archive, opened), budget)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                return _write(archive, target, _tar_members(archive, tar), budget)
    except _DAMAGED as error:
        raise BenchError(
            f"{archive} is damaged or of an unknown kind: {error}. Download it again, or unpack "
            "it yourself and name the folder."
        ) from error
    raise BenchError(
        f"{archive} is neither a folder nor a zip or tar archive (a web page saved as one?). "
        "Name the dataset's folder or the archive as published."
    )


_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression method that Python does not know
)

Member = tuple[str, int, IO[bytes]]


def _zip_members(archive: Path, opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        if info.is_dir():
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _unsafe(archive, info.filename, "is a link")
        if info.flag_bits & 1:
            raise BenchError(
                f"{archive} is encrypted. Unpack it with its password and name the folder."
            )
        with opened.open(info) as stream:
            yield info.filename, info.file_size, stream


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        if info.isdir():
            continue
        stream = tar.extractfile(info) if info.isreg() else None
        if stream is None:
            raise _unsafe(archive, info.name, "is a link or a device")
        yield info.name, info.size, stream


def _write(
    archive: Path, target: Path, members: Iterable[Member], budget: Budget
) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, size, stream in members:
        parts = _safe_parts(archive, name)
        budget.take(archive, size)
        if not all(map(_visible, parts)):
            continue
        path = target.joinpath(*parts)
        with _opened(archive, name, path) as file:
            shutil.copyfileobj(stream, file, 2**20)
        files["/".join(parts)] = path
    return files


_CLASH = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


def _opened(archive: Path, name: str, path: Path) -> BinaryIO:
    """The new file of a member; BenchError when its name is too long or another member's."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _unsafe(archive, name, "has a name longer than the disk allows") from error
        if error.errno in _CLASH:
            fault = "occurs twice, or is a file in one place and a folder in another"
            raise _unsafe(archive, name, fault) from error
        raise


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    """The member's path as parts below the target; BenchError when it would leave it."""
    path = PurePosixPath(name)
    if "\\" in name or "\0" in name or ":" in name.split("/")[0]:
        raise _unsafe(archive, name, "is not a plain relative path")
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise _unsafe(archive, name, "points outside the archive")
    return path.parts


def _unsafe(archive: Path, member: str, fault: str) -> BenchError:
    member = member if len(member) <= 80 else f"{member[:80]}..."
    return BenchError(
        f"{archive} is not safe to unpack: its member {member!r} {fault}. Download it again from "
        "the publisher, or unpack it yourself and name the folder."
    )
