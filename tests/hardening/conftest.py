"""Runs the command line in process on a bad input and holds it to the contract for errors."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import registry
from bench.cli import SIGNALS, main

SECONDS = 60  # a bad input is refused in far less; the slowest step is the import of torch

Refusal = Callable[..., str]


@pytest.fixture
def home(tmp_path, monkeypatch, cache) -> Path:
    """The working folder of a user; beside it lies what no command may touch."""
    folder = tmp_path / "home"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious.txt").write_text("precious")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GMS_BENCH_CACHE", str(cache))
    monkeypatch.delenv("GMS_BENCH_DATA", raising=False)
    monkeypatch.setattr(registry, "_plugin_files", [])
    return folder


def state_of(folder: Path) -> dict[str, object]:
    """Path -> what lies there, of everything below a folder that is not in a cache."""
    found: dict[str, object] = {}
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(here) / name
            plain = path.is_file() and not path.is_symlink()
            found[str(path.relative_to(folder))] = path.read_bytes() if plain else "other"
    return found


@pytest.fixture
def commanded(home, monkeypatch, capsys) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs `bench WORDS`: (exit status, standard output, standard error).

    An exception that leaves `main` fails the test: a user would see a traceback.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def refused(home, commanded) -> Refusal:
    """Runs `bench WORDS`, which is a user's mistake; gives its message in one line.

    Fails on a traceback, on another exit status, where a name in `says` is missing from the
    message, where any file changed, and where the refusal took long.
    """

    def refuse(*words: object, says: tuple[str, ...] = (), status: int = 2) -> str:
        before, started = state_of(home.parent), time.monotonic()
        ended, out, error = commanded(*words)
        # The command-line library folds its messages inside a frame.
        message = " ".join((out + error).replace("│", " ").split())
        assert "Traceback" not in message
        assert ended == status, message
        assert time.monotonic() - started < SECONDS
        for text in says:
            assert text in message, message
        assert len(message) < 3000, "a message is a sentence, not a file"
        assert state_of(home.parent) == before
        return message

    return refuse
