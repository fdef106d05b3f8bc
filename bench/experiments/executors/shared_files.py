"""Whether every node of a cluster sees the folders of a run: a token file is read on each.

A run stores its results and reads its caches in folders that all nodes share, at one path. A node
that has another disk there would train cells whose files nobody finds.
"""

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import write_text

NAMED = ("GMS_BENCH_", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "PYTHONPATH")
"""Starts of the environment variables that name places or settings and that workers need."""


@dataclass(frozen=True)
class Places:
    """The folders that every node must see, as absolute paths. results, cache: are written to."""

    results: Path
    cache: Path
    data: Path | None = None

    @property
    def written(self) -> tuple[Path, ...]:
        """The folders in which a token is put."""
        return (self.results, self.cache)


@contextmanager
def tokens(places: Places) -> Iterator[dict[Path, str]]:
    """Token file -> its words, one in each folder that is written to; removed at the end."""
    made: dict[Path, str] = {}
    try:
        for folder in places.written:
            folder.mkdir(parents=True, exist_ok=True)
            words = uuid.uuid4().hex
            file = folder / f".token-{words}"
            write_text(file, words)
            made[file] = words
        yield made
    finally:
        for file in made:
            file.unlink(missing_ok=True)


def standing_tokens(places: Places) -> dict[Path, str]:
    """As `tokens`, for jobs that may start days later: made once, and left where they are."""
    found = {}
    for folder in places.written:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / ".token"
        with contextlib.suppress(FileExistsError), file.open("x") as opened:
            opened.write(uuid.uuid4().hex)
        found[file] = file.read_text()
    return found


def missing(made: dict[Path, str], data: Path | None) -> str:
    """What this node does not see of the driver's folders, in a sentence; "" where it sees all."""
    for file, words in made.items():
        try:
            os.listdir(file.parent)  # makes a network file system look again
            seen = file.read_text()
        except OSError:
            seen = ""
        if seen != words:
            return _unseen(file.parent)
    return _unseen(data) if data is not None and not data.is_dir() else ""


def _unseen(folder: Path) -> str:
    return (
        f"Node {socket.gethostname()} does not see {folder} as the machine that started the run does. "
        "Results, cache (GMS_BENCH_CACHE) and data must lie on a file system that all nodes share, "
        "at one path; or leave that node out."
    )


def require_seen(made: dict[Path, str], data: Path | None) -> None:
    """BenchError where this node does not see the driver's folders."""
    said = missing(made, data)
    if said:
        raise BenchError(said)


def environment(places: Places) -> dict[str, str]:
    """Environment variables that workers on other nodes need from the driver."""
    found = {name: value for name, value in os.environ.items() if name.startswith(NAMED)}
    return found | {"GMS_BENCH_CACHE": str(places.cache)}
