"""Seeing which data files a method opens while it computes a loss or a prediction."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.core.paths import cache_root, data_root

EVENTS = frozenset({"open", "os.listdir", "os.scandir"})

_active: list["FileWatch"] = []  # audit hooks cannot be removed, so one hook reads this list
_hooked = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _active and event in EVENTS and isinstance(args[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(args[0]))
        for watch in _active:
            watch.record(path)


class FileWatch:
    """Records every file or folder opened below the data folder and the cache.

    decoy: a folder that is the data folder meanwhile, so that reading it is seen on a machine
    without data, too. File access through Python is seen, that of C libraries is not.
    """

    def __init__(self, decoy: Path) -> None:
        self.decoy = decoy
        self.seen: list[str] = []

    def __enter__(self) -> Self:
        global _hooked
        if not _hooked:
            sys.addaudithook(_hook)
            _hooked = True
        watched = [self.decoy, cache_root(), *filter(None, [data_root()])]
        self.roots = tuple(os.path.abspath(root) + os.sep for root in watched)
        self._named = os.environ.get("GMS_BENCH_DATA")
        os.environ["GMS_BENCH_DATA"] = str(self.decoy)
        _active.append(self)
        return self

    def record(self, path: str) -> None:
        """Keep `path` if it lies below a watched folder."""
        if (path + os.sep).startswith(self.roots):
            self.seen.append(path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _active.remove(self)
        if self._named is None:
            del os.environ["GMS_BENCH_DATA"]
        else:
            os.environ["GMS_BENCH_DATA"] = self._named
