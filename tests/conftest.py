"""Fixtures that keep a test's caches and results to itself, and a method that trains in seconds."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_doubles import TINY

if "PYTEST_XDIST_WORKER" in os.environ:  # workers side by side: more threads only get in the way
    os.environ.setdefault("OMP_NUM_THREADS", "1")


REFUSALS = re.compile(
    r"pytest\.raises\(\s*(BenchError|PixelError|ValidationError)|\brefused\(|returncode == 2|\.damaged"
)


def pytest_collection_modifyitems(items) -> None:
    """Mark what gives the harness a bad input and reads what it says, so that it can be counted:
    `pytest --collect-only -v -n 0 -m bad_input` ends with their number."""
    for item in items:
        if REFUSALS.search(inspect.getsource(item.function)):
            item.add_marker("bad_input")


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One cache of phantoms for the whole session; its content is a function of its key."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A plugin file that defines the method `tiny`."""
    file = tmp_path / "tiny_plugin.py"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="session")
def bench_in(cache):
    """Makes `bench`, as run in a folder."""

    def in_folder(folder: Path):
        def run(*words, **environment) -> subprocess.CompletedProcess[str]:
            env = {k: v for k, v in os.environ.items() if not k.startswith("GMS_BENCH")}
            env |= {"GMS_BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"} | environment
            command = [sys.executable, "-m", "bench.cli", *map(str, words)]
            return subprocess.run(
                command, check=False, cwd=folder, env=env, capture_output=True, text=True
            )

        return run

    return in_folder


@pytest.fixture
def bench(bench_in, tmp_path):
    """Run the command line in a process of its own, as a user does."""
    return bench_in(tmp_path)
