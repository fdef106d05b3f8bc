"""A run that is killed again and again gives the bytes of one that is not.

    python benchmarks/kills.py --out FOLDER --kills 100 --seed 0
    python benchmarks/kills.py --out FOLDER --kills 0 --runners 4

Runs a small matrix on phantoms once undisturbed. Then runs it again and ends the command or one of
its workers by SIGKILL, SIGTERM, SIGINT or SIGHUP at random moments, starting it anew each time; a
folder that is complete is compared with the undisturbed one and another is begun, until all kills
are done. Weights, scores and predictions have to agree in every byte, histories in all but seconds.
With --runners, so many commands share one folder at once: all have to end well, and each cell has
to be trained once. Ends with status 1 where something differs.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
TRIES = 20  # undisturbed runs after the last kill; a cell that a kill made fail takes one more
COMPARED = ("weights.safetensors", "scores/*", "predictions/*")


@dataclass
class Tally:
    """What happened. wrong: everything that should not."""

    kills: Counter[str] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    epochs: int = 0
    folders: int = 0
    last: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """The run that is killed: two seeds of each method on phantoms, two cells at a time."""

    methods: str
    epochs: int

    @property
    def cells(self) -> int:
        """How many it trains."""
        return 2 * len(self.methods.split(","))

    @property
    def command(self) -> list[str]:
        """As typed."""
        return [
            sys.executable, "-m", "bench.cli", "run", "--train", "busi", "--methods", self.methods,
            "--seeds", "0-1", "--profile", "smoke", "--epochs", str(self.epochs), "--device", "cpu",
            "--jobs", "2", "--verbose",
        ]  # fmt: skip


def started(folder: Path, out: Path, run: Run) -> subprocess.Popen[str]:
    """The run on the results in `folder`; what it says goes to the file `out`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GMS_BENCH")}
    environment |= {"GMS_BENCH_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1"}
    with out.open("w") as file:
        words = [*run.command, "--results", str(folder)]
        return subprocess.Popen(
            words, env=environment, text=True, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def workers_of(pid: int) -> list[int]:
    """Process ids of a process' children; none where it is gone."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def kill_once(folder: Path, out: Path, run: Run, span: float, draws: random.Random, tally: Tally) -> bool:  # fmt: skip
    """Run and kill at a random moment within `span` seconds; False where the run ended before."""
    number, at, worker = draws.choice(SIGNALS), draws.uniform(0, span), draws.random() < 0.4
    process = started(folder, out, run)
    try:
        status = process.wait(at)
        if status:
            tally.wrong.append(f"status {status} before a kill: {last_line(out)}")
        return False
    except subprocess.TimeoutExpired:
        pass
    hit = process.pid
    if worker and (children := workers_of(process.pid)):
        hit = draws.choice(children)
    where = "runner" if hit == process.pid else "worker"
    try:
        os.kill(hit, number)
    except ProcessLookupError:
        return False
    tally.kills[f"{number.name} of a {where}"] += 1
    tally.last = f"{number.name} of a {where} after {at:.1f} s"
    if where == "runner":
        _check_end(process, number, out, tally)
    else:
        process.wait(600)  # goes on with the other cells; the one that was hit has failed
    _count_resumed(f"{number.name} of a {where}", out, tally)
    return True


def _check_end(process: subprocess.Popen[str], number: signal.Signals, out: Path, tally: Tally) -> None:  # fmt: skip
    try:
        status = process.wait(90)
    except subprocess.TimeoutExpired:
        tally.wrong.append(f"{number.name}: the command was still there after 90 s")
        process.kill()
        return
    said = out.read_text(errors="replace")
    if number == signal.SIGKILL:
        return
    # Minus the number: the interpreter was not up yet, or closing.
    if status not in (STATUS[number], -number, 0):
        tally.wrong.append(f"{number.name}: status {status}: {last_line(out)}")
    if status == STATUS[number] and not last_line(out).startswith("bench: stopped."):
        tally.wrong.append(f"{number.name}: last line {last_line(out)!r}")
    if "Traceback" in said and status != -number:
        tally.wrong.append(f"{number.name}: a traceback in {out}")
    if "failed after" in said:
        tally.wrong.append(f"{number.name} of the runner recorded a failure, see {out}")


def _count_resumed(after: str, out: Path, tally: Tally) -> None:
    """What this run resumed from the kills before it."""
    for epoch in re.findall(r"resume at epoch (\d+)", out.read_text(errors="replace")):
        tally.resumed[after] += 1
        tally.epochs += int(epoch) - 1


def last_line(out: Path) -> str:
    """The last line of what a command said."""
    return (out.read_text(errors="replace").splitlines() or [""])[-1]


def finished(folder: Path, out: Path, run: Run, tally: Tally) -> bool:
    """Run undisturbed until the status is 0."""
    for _ in range(TRIES):
        status = started(folder, out, run).wait()
        _count_resumed("the last one", out, tally)
        if status == 0:
            return True
    tally.wrong.append(f"{folder} is not complete after {TRIES} runs: {last_line(out)}")
    return False


def differences(folder: Path, whole: Path) -> list[str]:
    """What of the cells in `folder` is not as in `whole`."""
    found = []
    names = sorted(file.parent.name for file in whole.glob("cells/*/cell.json"))
    if names != sorted(file.parent.name for file in folder.glob("cells/*/cell.json")):
        found.append("other cells")
    for name in names:
        one, other = (place / "cells" / name for place in (whole, folder))
        for pattern in COMPARED:
            files = sorted(file.relative_to(one) for file in one.glob(pattern))
            if not files or files != sorted(file.relative_to(other) for file in other.glob(pattern)):  # fmt: skip
                found.append(f"{name}: other files {pattern}")
                continue
            found += [
                f"{name}: {file}"
                for file in files
                if (one / file).read_bytes() != (other / file).read_bytes()
            ]
        histories = [
            pd.read_parquet(place / "history.parquet").drop(columns="seconds")
            for place in (one, other)
        ]
        if not histories[0].equals(histories[1]):
            found.append(f"{name}: history")
    return found


def kill_often(asked: argparse.Namespace, run: Run, whole: Path, span: float, tally: Tally) -> None:
    """Do all kills, folder after folder, and compare each."""
    draws = random.Random(asked.seed)
    while sum(tally.kills.values()) < asked.kills:
        folder, out = asked.out / "killed", asked.out / "killed.txt"
        shutil.rmtree(folder, ignore_errors=True)
        hit = True
        while hit and sum(tally.kills.values()) < asked.kills:
            hit = kill_once(folder, out, run, span, draws, tally)
            if hit:
                print(f"{tally.last} ({sum(tally.kills.values())})", flush=True)
        if finished(folder, out, run, tally):
            found = differences(folder, whole)
            tally.wrong += found
            tally.folders += 1
            if found:
                shutil.move(folder, asked.out / f"differs-{tally.folders}")


def share(count: int, asked: argparse.Namespace, run: Run, whole: Path, tally: Tally) -> None:
    """So many commands at once on one folder."""
    folder = asked.out / f"shared-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    outs = [asked.out / f"shared-{count}-{number}.txt" for number in range(count)]
    statuses = [one.wait() for one in [started(folder, out, run) for out in outs]]
    trained: Counter[str] = Counter()
    for out in outs:
        trained.update(re.findall(r"cell \d+ of \d+ (.*?): epoch 1 of", out.read_text()))
    if any(statuses):
        tally.wrong.append(f"{count} runners ended with {statuses}")
    if sorted(trained.values()) != [1] * run.cells:
        tally.wrong.append(f"{count} runners: trainings {dict(trained)}")
    tally.wrong += differences(folder, whole)
    words = ", ".join(f"{name} {times}x" for name, times in sorted(trained.items()))
    print(f"{count} runners on one folder: statuses {statuses}; trained: {words}", flush=True)


def main() -> None:
    """Print what was killed, what was resumed and what differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default="ege_unet,gms")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument(
        "--span", type=float, default=0.0, help="s; default: of the undisturbed run"
    )
    parser.add_argument("--runners", type=int, nargs="*", default=[])
    asked = parser.parse_args()
    asked.out = asked.out.resolve()
    asked.out.mkdir(parents=True, exist_ok=True)
    run = Run(asked.methods, asked.epochs)
    tally, whole, begun = Tally(), asked.out / "whole", time.monotonic()
    status = started(whole, asked.out / "whole.txt", run).wait()
    span = asked.span or time.monotonic() - begun
    if status:
        sys.exit(f"the undisturbed run ended with {status}: {asked.out / 'whole.txt'}")
    print(f"undisturbed: {time.monotonic() - begun:.0f} s; kills within {span:.0f} s", flush=True)
    for count in asked.runners:
        share(count, asked, run, whole, tally)
    kill_often(asked, run, whole, span, tally)
    for name, count in sorted(tally.kills.items()):
        print(f"{count:4} x {name}")
    print(
        f"{sum(tally.kills.values())} kills in {time.monotonic() - begun:.0f} s, seed {asked.seed}; "
        f"trainings resumed {sum(tally.resumed.values())} times, {tally.epochs} epochs not trained "
        f"again; {tally.folders} folders compared with the undisturbed one."
    )
    print("\n".join(["Wrong:", *tally.wrong]) if tally.wrong else "Nothing differs.")
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
