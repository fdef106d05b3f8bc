"""How far a run is, in words: cells and epochs done, time left, and a log of each cell."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.experiments.messages import Epoch, Event, Failed, Finished, Scoring, Started, Step
from bench.experiments.runner import Task

LOG = "log.txt"
SECONDS_BETWEEN_LINES = 10.0  # of one cell; its first and last epoch always get a line


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


@dataclass
class CellCourse:
    """One cell at work. share: of its epochs that are done, in [0, 1]; before: of them, in earlier
    runs. doing: what it does now, or its last epoch; step: of the epoch after that."""

    task: Task
    number: int
    started: float
    share: float = 0.0
    before: float = 0.0
    doing: str = "starting"
    step: str = ""
    lines: list[float] = field(default_factory=list)  # when each of its lines was said

    def left(self, now: float) -> float | None:
        """Seconds to the last epoch at the pace so far; None before the first one."""
        if self.share <= self.before:
            return None
        return (now - self.started) * (1 - self.share) / (self.share - self.before)


class Course:
    """The run's cells, from the events of its workers. Safe to call from several threads."""

    def __init__(
        self, tasks: Sequence[Task], cells: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tasks, self.cells, self.clock = tasks, cells, clock
        self.working: dict[str, CellCourse] = {}
        self.total = self.begun = self.ended = 0
        self.started = clock()
        self._lock = threading.Lock()

    def see(self, task: Task, event: Event) -> str | None:
        """Follow an event; the line that it deserves, if any. Every line is in the cell's log."""
        with self._lock:
            line = self._line(task, event)
            if line is not None:
                self._log(task, line)
            return line

    def left(self) -> float | None:
        """Seconds to the end of the run at the pace so far; None before anything is done."""
        fresh = sum(cell.share - cell.before for cell in self.working.values()) + self.ended
        open_ = self.total - self.ended - sum(cell.share for cell in self.working.values())
        return (self.clock() - self.started) * open_ / fresh if fresh > 0 else None

    def due(self, task: Task, event: Event) -> bool:
        """Whether an epoch's line is to be printed now: its first, its last, one in ten seconds."""
        if not isinstance(event, Epoch):
            return True
        cell = self.working[task.id]
        last = cell.lines[-1] if cell.lines else None
        now = self.clock()
        due = last is None or event.epoch == event.epochs or now - last >= SECONDS_BETWEEN_LINES
        if due:
            cell.lines.append(now)
        return due

    def _line(self, task: Task, event: Event) -> str | None:
        match event:
            case Started(device=device):
                return self._begin(task, device)
            case Scoring(test=test):
                cell = self.working[task.id]
                cell.share, cell.doing, cell.step = 1.0, f"scoring {test}", ""
                return f"{self._where(cell)}: {cell.doing}"
            case Step(epoch=epoch, step=step, steps=steps):
                cell = self.working[task.id]
                cell.step = f"epoch {epoch + 1}: step {step + 1} of {steps}"
                return None
            case Epoch():
                return self._epoch(self.working[task.id], event)
            case Finished() | Failed():
                return self._end(task, event)
        return None

    def _begin(self, task: Task, device: str) -> str:
        if not self.total:  # the states are settled by now, and duplicates have one id
            self.total = len({one.id for one in self.tasks if one.waits})
            self.started = self.clock()
        self.begun += 1
        cell = CellCourse(task, min(self.begun, self.total), self.clock())
        self.working[task.id] = cell
        how = f", resumes at epoch {task.resume + 1}" if task.resume else ""
        return f"{self._where(cell)}: starts on {device}{how}"

    def _epoch(self, cell: CellCourse, event: Epoch) -> str:
        if not cell.before:
            cell.before = (event.epoch - 1) / event.epochs if cell.task.resume else 0.0
        cell.share = event.epoch / event.epochs
        words = [f"epoch {event.epoch} of {event.epochs}", f"loss {event.row['loss']:.4f}"]
        words += [
            f"{name[:-4]} DSC {event.row[name]:.3f}"
            for name in ("val_dsc", "test_dsc")
            if event.row[name] is not None
        ]
        left = cell.left(self.clock())
        words += [f"{duration(left)} left"] if left else []
        cell.doing, cell.step = ", ".join(words), ""
        rest = self.left()
        run = f"; run: {duration(rest)} left" if rest is not None and self.total > 1 else ""
        return f"{self._where(cell)}: {cell.doing}{run}"

    def _end(self, task: Task, event: Finished | Failed) -> str:
        cell = self.working.pop(task.id)
        where, took = self._where(cell), duration(self.clock() - cell.started)
        if isinstance(event, Failed):
            if event.in_use:
                self.begun -= 1
                return f"{where}: {event.message} It is waited for when the rest is done."
            self.ended += 1
            return f"{where}: failed after {took}: {event.message}"
        self.ended += 1
        scores = ", ".join(f"{test} DSC {dsc:.3f}" for test, dsc in event.dsc.items())
        return f"{where}: done in {took}" + (f", {scores}" if scores else "")

    def _where(self, cell: CellCourse) -> str:
        return f"cell {cell.number} of {self.total} {cell.task.request.label}"

    def _log(self, task: Task, line: str) -> None:
        """Append to the cell's log; a cell in use elsewhere has a log of that process."""
        folder = self.cells / task.id
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
