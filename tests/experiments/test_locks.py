"""A cell's lock: one holder at a time, named to the others."""

import os
import socket
import subprocess
import sys

import pytest

from bench.experiments import locks

HOLD = """
import sys
from pathlib import Path
from bench.experiments.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_holder_is_named_and_the_lock_ends_with_its_process(tmp_path):
    folder = tmp_path / "unet-busi-0"
    assert not locks.in_use(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    assert locks.in_use(folder)
    words = f"Cell unet-busi-0 is in use by process {process.pid} on {socket.gethostname()} since"
    with pytest.raises(locks.CellInUse, match=words), locks.held(folder):
        pass
    process.kill()
    process.wait()
    assert not locks.in_use(folder)
    with locks.held(folder):
        assert f"process {os.getpid()} on" in locks.holder(folder)


def test_a_lock_file_of_another_version_names_no_one(tmp_path):
    (tmp_path / ".lock").write_text("")
    assert locks.holder(tmp_path) == "another process"
