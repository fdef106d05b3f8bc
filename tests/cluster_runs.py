"""Runs on Ray and Slurm with faults: a matrix whose cells train for seconds, and looking at them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.experiments.cells import load_cells

EPOCHS = 30

STEADY = '''"""A convolution that takes a tenth of a second per training step."""

import time

from torch import nn

from bench.contracts import MethodSpec, Settings


class SteadySettings(Settings):
    width: int = 4


class Steady(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
        )

    def forward(self, images):
        if self.training:
            time.sleep(0.1)
        return self.layers(images)


SPEC = MethodSpec(
    name="steady", title="Steady", family="CNN", settings=SteadySettings, summary="x",
    build=lambda settings, context: Steady(settings.width), citation="none",
)
'''


class Runs:
    """`bench run` of three cells in a folder, by any executor."""

    def __init__(self, folder: Path, cache: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "steady.py").write_text(STEADY)
        (folder / "m.toml").write_text(
            'title = "S"\n[[cells]]\nmethods = ["steady"]\ntrain = ["busi"]\n'
            "settings = { width = [2, 3, 4] }\n"
        )
        own = {"GMS_BENCH_CACHE": str(cache), "GMS_BENCH_CHECKPOINT_SECONDS": "0"}
        self.environment = os.environ | own | environment

    def start(self, results: str, *words: str) -> subprocess.Popen:
        """The command, under way; what it says goes to a file of the folder."""
        command = [
            sys.executable, "-m", "bench.cli", "run", "-m", "m.toml", "--plugin", "steady.py",
            "--profile", "smoke", "--epochs", str(EPOCHS), "--device", "cpu", "--verbose",
            "--results", results, *words,
        ]  # fmt: skip
        with (self.folder / "said.txt").open("a") as said:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """All that the commands printed."""
        return (self.folder / "said.txt").read_text()

    def until(
        self, met: Callable[[], object], process: subprocess.Popen | None = None, limit: float = 240
    ) -> None:
        """Wait until something is so, while the process runs."""
        deadline = time.monotonic() + limit
        while not met():
            assert time.monotonic() < deadline, self.said
            assert process is None or process.poll() is None, self.said
            time.sleep(0.1)

    def training(self, results: str) -> dict[str, int]:
        """Cell id -> process number, of the cells that train and stored some of it."""
        found = {}
        for state in (self.folder / results).glob("cells/*/resume/state.safetensors"):
            lock = state.parents[1] / ".lock"
            try:
                found[state.parents[1].name] = json.loads(lock.read_text())["pid"]
            except (OSError, ValueError):
                pass
        return found

    def require_each_once(self, results: str, repeated: int, logged: bool = True) -> None:
        """Every cell is done and equals the local run's to the last bit; no more than `repeated`
        epochs of all were trained twice. logged: a command was there all the time and wrote the
        cells' logs, which say so."""
        records = load_cells(self.folder / results / "cells")
        assert [record.status for record in records] == ["done"] * 3, self.said
        again = 0
        for record in records:
            local = self.folder / "local" / "cells" / record.id
            assert record.folder is not None
            files = ("weights.safetensors", "scores/busi-test.parquet", "predictions/busi-test.npz")
            for name in files:
                assert (record.folder / name).read_bytes() == (local / name).read_bytes(), name
            if not logged:
                continue
            log = (record.folder / "log.txt").read_text()
            trained = [int(number) for number in re.findall(rf"epoch (\d+) of {EPOCHS},", log)]
            assert set(trained) <= set(range(1, EPOCHS + 1)) and max(trained) == EPOCHS
            again += len(trained) - len(set(trained))
            assert log.count(": done in") == 1, log
        assert again <= repeated, self.said


def parent_of(pid: int) -> int:
    """The number of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
