"""`bench watch`: what runs in a folder of results, whoever started it and wherever it computes."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from bench.cli import options as opt
from bench.cli.options import console
from bench.cli.stopped import Stopped
from bench.experiments.attempts import epochs_done
from bench.experiments.cells import readable_cells
from bench.experiments.course import LOG
from bench.experiments.locks import holder, in_use

SECONDS_BETWEEN_LOOKS = 1.0


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(watch)


def watch(out: opt.Out = Path("results")) -> None:
    """Show the cells at work in a folder of results until nothing runs there; starts nothing."""
    view = View(out)
    lines = view.first()
    try:
        if console.is_terminal:
            with Live(console=console, transient=True, get_renderable=view.block):
                _follow(view, [])
        else:
            _follow(view, lines)
    except Stopped as stopped:
        stopped.said = "bench: no longer watching. What runs goes on."
        raise
    console.print(view.end(), highlight=False, markup=False, soft_wrap=True)


def _follow(view: "View", lines: list[str]) -> None:
    """Print lines until nothing runs."""
    while True:
        busy = view.look()  # before the lines: the last ones are written while something runs
        for line in (*lines, *view.lines()):
            if not console.is_terminal or ": done in" in line or ": failed after" in line:
                console.print(line, highlight=False, markup=False, soft_wrap=True)
        if not busy:
            return
        lines = []
        time.sleep(SECONDS_BETWEEN_LOOKS)


@dataclass
class View:
    """What is at work in a folder of results. working: folders of cells that a process holds.
    driven: whether a command is at work that writes the cells' logs. read: bytes of each log that
    were read. stored: epochs that a cell without such a command stored."""

    results: Path
    working: list[Path] = field(default_factory=list)
    driven: bool = False
    read: dict[Path, int] = field(default_factory=dict)
    last: dict[Path, str] = field(default_factory=dict)
    stored: dict[Path, int] = field(default_factory=dict)

    def look(self) -> bool:
        """See what runs now; whether anything does."""
        held = [file.parent for file in sorted(self.results.glob("cells/*/.lock"))]
        self.working = [folder for folder in held if in_use(folder)]
        runs = [file.parent for file in self.results.glob("logs/*/.lock")]
        self.driven = any(in_use(folder) for folder in runs)
        return bool(self.working or self.driven)

    def first(self) -> list[str]:
        """A line for each cell at work; its log is read from its end on."""
        self.look()
        for file in self.results.glob(f"cells/*/{LOG}"):
            self.lines_of(file)
        return [self._state(folder) for folder in self.working]

    def lines(self) -> list[str]:
        """Lines that the logs got since the last call; epochs stored where no command writes them."""
        found = []
        for file in sorted(self.results.glob(f"cells/*/{LOG}")):
            found += self.lines_of(file)
        for folder in [] if self.driven else self.working:
            epoch = epochs_done(folder)
            if epoch and epoch != self.stored.get(folder):
                self.stored[folder] = epoch
                found.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self._stored(folder, epoch)}")
        return found

    def lines_of(self, file: Path) -> list[str]:
        """A log's new whole lines; a log is opened anew, since another host may write it."""
        start = self.read.get(file, 0)
        with file.open("rb") as opened:
            opened.seek(start)
            text = opened.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.read[file] = start + len(whole)
        found = whole.decode(errors="replace").splitlines()
        if found:
            self.last[file.parent] = found[-1]
        return found

    def block(self) -> Group:
        """The cells at work, a line each, for a terminal."""
        return Group(*(Text(self._state(folder)) for folder in self.working))

    def _state(self, folder: Path) -> str:
        if self.driven and folder in self.last:
            return self.last[folder]
        return self._stored(folder, epochs_done(folder))

    def _stored(self, folder: Path, epoch: int) -> str:
        return f"{folder.name}: {holder(folder)} works on it; {epoch} epochs are stored"

    def end(self) -> str:
        """What is stored when nothing runs any more."""
        records = readable_cells(self.results / "cells")
        done = sum(record.status == "done" for record in records)
        words = [f"Nothing runs in {self.results}: {done} cells are done"]
        words += [f"{len(records) - done} failed"] if len(records) > done else []
        sent = len(list(self.results.glob("logs/slurm/*.json")))
        waits = f" {sent} jobs were sent to Slurm; squeue lists those that wait." if sent else ""
        return ", ".join(words) + "." + waits
