"""`bench run --detach` and `bench watch`: started here, seen from there, ended when nothing runs."""

import os
import re
import subprocess
import sys
import time

import pytest
from cluster_runs import EPOCHS, Runs

from bench.experiments.cells import load_cells


@pytest.fixture
def runs(tmp_path, cache) -> Runs:
    return Runs(tmp_path, cache)


def watch(runs: Runs) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.cli", "watch", "--results", "out"]
    return subprocess.run(
        command, cwd=runs.folder, env=runs.environment, capture_output=True, text=True, check=True,
        timeout=200,
    )  # fmt: skip


def test_a_detached_run_is_watched_until_it_ends(runs):
    started = runs.start("out", "--detach", "--jobs", "2", "--threads", "1", "--set", "width=2")
    assert started.wait(timeout=60) == 0, runs.said
    found = re.search(r"Process (\d+) runs it in the background", runs.said)
    assert found, runs.said
    process = int(found[1])
    assert os.getsid(process) == process  # a session of its own outlives the terminal
    assert "bench watch --results out" in runs.said and "kill -INT" in runs.said
    runs.until(lambda: runs.training("out"))
    said = watch(runs).stdout
    assert f"epoch {EPOCHS} of {EPOCHS}," in said and ": done in" in said
    assert said.splitlines()[-1] == "Nothing runs in out: 1 cells are done."
    assert [record.status for record in load_cells(runs.folder / "out/cells")] == ["done"]


def test_where_nothing_runs_watching_ends_at_once(runs):
    (runs.folder / "out").mkdir()
    assert watch(runs).stdout == "Nothing runs in out: 0 cells are done.\n"


WORKER = """
import sys, time
from pathlib import Path
from bench.experiments.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_cell_whose_command_is_gone_is_shown_by_what_it_stores(runs):
    folder = runs.folder / "out/cells/unet-busi-0"
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    watching = subprocess.Popen(
        [sys.executable, "-u", "-m", "bench.cli", "watch", "--results", "out"],
        cwd=runs.folder, env=runs.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout is not None
    said = watching.stdout.readline()
    assert said.startswith(f"unet-busi-0: process {process.pid} on "), said
    assert said.endswith("works on it; 0 epochs are stored\n")
    time.sleep(1.5)
    assert watching.poll() is None
    process.communicate()
    assert watching.wait(timeout=30) == 0
