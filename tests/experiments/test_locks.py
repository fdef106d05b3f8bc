"""A cell's lock: one holder at a time, named to the others, on this host and on others."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from bench.experiments import locks

HOLD = """
import sys
from pathlib import Path
from bench.experiments import locks
locks.BEAT = float(sys.argv[2])
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

ELSEWHERE = {
    "pid": 4711, "host": "elsewhere", "since": "noon", "token": "t", "machine": "another",
    "started": "1", "job": "Slurm job 17",
}  # fmt: skip


@pytest.fixture
def holding(tmp_path):
    """Starts a process that holds a folder's lock and touches it every `beat` seconds."""
    started = []

    def start(beat: float = 15.0) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "unet-busi-0"), str(beat)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_holder_is_named_and_the_lock_ends_with_its_process(tmp_path, holding):
    folder = tmp_path / "unet-busi-0"
    assert not locks.in_use(folder)
    process = holding()
    assert locks.in_use(folder)
    words = f"Cell unet-busi-0 is in use by process {process.pid} on {socket.gethostname()} since"
    with pytest.raises(locks.CellInUse, match=words), locks.held(folder):
        pass
    process.kill()
    process.wait()
    assert not locks.in_use(folder)
    with locks.held(folder):
        assert f"process {os.getpid()} on" in locks.holder(folder)
        assert locks.in_use(folder)
    assert not locks.in_use(folder) and not list(folder.iterdir())


def test_a_lock_file_of_another_version_names_no_one(tmp_path):
    (tmp_path / ".lock").write_text("")
    assert locks.holder(tmp_path) == "another process"


def lease(folder, silent: float, **changes) -> None:
    """The lease of a process on another host, last touched so many seconds ago."""
    file = folder / ".lock"
    file.write_text(json.dumps(ELSEWHERE | changes))
    then = time.time() - silent
    os.utime(file, (then, then))


@pytest.mark.parametrize("silent, free", [(0, False), (100, False), (170, False), (190, True)])
def test_a_lease_of_another_host_ends_after_three_minutes_of_silence(tmp_path, silent, free):
    lease(tmp_path, silent)
    assert locks.in_use(tmp_path) != free
    if free:
        with locks.held(tmp_path):
            assert f"process {os.getpid()} on" in locks.holder(tmp_path)
    else:
        words = r"in use by process 4711 \(Slurm job 17\) on elsewhere since noon"
        with pytest.raises(locks.CellInUse, match=words), locks.held(tmp_path):
            pass


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_wrong_clock_of_this_host_ends_no_lease_and_keeps_none(tmp_path, monkeypatch, ahead):
    clock = time.time
    lease(tmp_path, 10)
    monkeypatch.setattr(locks.time, "time", lambda: clock() + ahead)
    assert locks.in_use(tmp_path)
    monkeypatch.undo()
    lease(tmp_path, 190)
    monkeypatch.setattr(locks.time, "time", lambda: clock() + ahead)
    assert not locks.in_use(tmp_path)


def test_a_number_that_another_process_has_by_now_does_not_hold_the_lock(tmp_path, holding):
    process = holding()
    file = tmp_path / "unet-busi-0" / ".lock"
    found = json.loads(file.read_text())
    assert found["pid"] == process.pid
    file.write_text(json.dumps(found | {"started": "12"}))
    assert not locks.in_use(tmp_path / "unet-busi-0")


def test_a_holder_touches_its_lease(tmp_path, holding):
    holding(beat=0.05)
    file = tmp_path / "unet-busi-0" / ".lock"
    os.utime(file, (0, 0))
    deadline = time.monotonic() + 20
    while time.time() - file.stat().st_mtime > 60:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_holder_whose_lease_another_one_took_ends(tmp_path, holding):
    process = holding(beat=0.05)
    (tmp_path / "unet-busi-0" / ".lock").write_text(json.dumps(ELSEWHERE))
    assert process.wait(timeout=20) == locks.LOST
    assert locks.holder(tmp_path / "unet-busi-0").startswith("process 4711")


def test_one_of_two_replaces_a_lease_that_has_ended(tmp_path):
    lease(tmp_path, 500)
    file, ended = tmp_path / ".lock", locks._read(tmp_path / ".lock")
    first, second = locks._lease(), locks._lease()
    assert locks._replace(file, ended, first)
    assert not locks._replace(file, ended, second)  # it saw the ended lease before the first acted
    assert locks._read(file) == first
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_claim_that_its_maker_left_holds_the_next_one_up_once(tmp_path):
    lease(tmp_path, 500)
    claim = tmp_path / ".lock.after-t"
    claim.write_text(json.dumps(ELSEWHERE | {"token": "u"}))
    os.utime(claim, (0, 0))
    with pytest.raises(locks.CellInUse), locks.held(tmp_path):
        pass
    with locks.held(tmp_path):
        assert not claim.exists()


MANY = """
import os, sys, time
from pathlib import Path
from bench.experiments import locks
folder, start = Path(sys.argv[1]), time.time() + 0.5
for number in range(8):
    if os.fork() == 0:
        time.sleep(max(0.0, start - time.time()))
        try:
            with locks.held(folder):
                print("held\\n", end="", flush=True)
                time.sleep(1.0)
        except locks.CellInUse:
            print("in use\\n", end="", flush=True)
        os._exit(0)
for number in range(8):
    os.wait()
"""


def test_one_of_eight_processes_gets_a_lease_that_has_ended(tmp_path):
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        lease(folder, 500)
        command = [sys.executable, "-c", MANY, str(folder)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
        assert sorted(said[:-1]) == ["held"] + 7 * ["in use"]
