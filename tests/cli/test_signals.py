"""Signals: one line, the shell's exit status, nothing recorded as failed, no worker left behind."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

SLOW = '''"""A network that takes a second per step."""

import time

from torch import nn

from bench.contracts import MethodSpec


class Slow(nn.Conv2d):
    def forward(self, images):
        if self.training:
            time.sleep(1)
        return super().forward(images)


SPEC = MethodSpec(
    name="slow", title="Slow", family="CNN", build=lambda settings, context: Slow(3, 1, 1),
    summary="x", citation="none",
)
'''

WORDS = (
    "run", "-m", "m.toml", "--plugin", "slow.py", "--profile", "smoke", "--epochs", "99",
    "--device", "cpu", "--jobs", "1",
)  # fmt: skip


@pytest.fixture
def started(tmp_path, cache):
    """A run whose only cell is training, and its process."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "m.toml").write_text(
        'title = "S"\n[[cells]]\nmethods = ["slow"]\ntrain = ["busi"]\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *WORDS],
        cwd=tmp_path, env=os.environ | {"GMS_BENCH_CACHE": str(cache)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("results/cells/*/.lock")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    yield process
    process.kill()


def workers_of(process: subprocess.Popen) -> list[int]:
    """Process ids of a command's children."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_ends_a_run_in_one_line_and_records_no_failure(started, tmp_path, number):
    children = workers_of(started)
    started.send_signal(number)
    _, said = started.communicate(timeout=30)
    assert started.returncode == STATUS[number]
    assert said.splitlines()[-1] == (
        "bench: stopped. 0 of 1 cells are stored; the same command goes on."
    )
    assert "Traceback" not in said
    assert not list(tmp_path.glob("results/cells/*/cell.json"))
    assert all(map(gone, children))


def logged(tmp_path, words: str) -> None:
    """Wait until the cell's log holds the words."""
    deadline = time.monotonic() + 120
    while not any(words in file.read_text() for file in tmp_path.glob("results/cells/*/log.txt")):
        assert time.monotonic() < deadline, f"no {words!r} in two minutes"
        time.sleep(0.05)


def test_a_stopped_cell_is_saved_first_and_the_next_plan_says_where_it_goes_on(
    started, tmp_path, bench
):
    logged(tmp_path, "epoch 1 of 99")  # the first state would be stored after thirty seconds
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=45)
    assert said.splitlines()[-1] == (
        "bench: stopped. 0 of 1 cells are stored, 1 more will resume; the same command goes on."
    )
    plan = bench(*WORDS, "--dry-run").stdout
    found = re.search(r"resume at epoch (\d+): slow on busi, seed 0", plan)
    assert found and int(found[1]) >= 2, plan


def test_a_second_signal_ends_at_once(started, tmp_path):
    logged(tmp_path, "epoch 1 of 99")  # to store the second epoch takes two seconds
    started.send_signal(signal.SIGINT)
    time.sleep(0.2)
    started.send_signal(signal.SIGINT)
    assert started.wait(timeout=1) == 130


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_when_the_command_is_killed(started):
    children = workers_of(started)
    assert children
    started.kill()
    deadline = time.monotonic() + 10
    while not all(map(gone, children)):
        assert time.monotonic() < deadline, "a worker outlives its parent by ten seconds"
        time.sleep(0.1)


# The line is printed once the handlers are there: before, the interpreter itself answers a signal.
CODE = """
import signal
from bench import cli
install = cli._on_signals
def announced(handler):
    install(handler)
    print(1, flush=True)
cli._on_signals = announced
cli.main()
"""


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_a_signal_during_the_imports_gives_no_traceback(tmp_path, delay):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "list"],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "1\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    # 2: it had ended already, for want of an argument. -2: the interpreter was closing, which takes
    # its handlers away first; a shell reports it as 130.
    assert process.returncode in (130, 2, -2)
