"""How far a run is, in words: cells and epochs done, time left, and a log of each cell."""

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.experiments.estimate import Guess
from bench.experiments.messages import (
    Epoch,
    Event,
    Failed,
    Finished,
    Retry,
    Scoring,
    Started,
    Step,
)
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


class Expected(Protocol):
    """What is known of trainings before they run; see `bench.experiments.estimate.Expectation`."""

    def images(self, task: Task) -> int:
        """Training images that a task still shows."""

    def training(self, task: Task) -> Guess | None:
        """Its time by stored cells of its method; None without one."""


@dataclass
class CellCourse:
    """One cell at work. share: of its epochs that are done, in [0, 1]; before: of them, in earlier
    runs. doing: what it does now, or its last epoch; step: of the epoch after that. trains: not
    only scored."""

    task: Task
    number: int
    started: float
    trains: bool
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
    """The run's cells, from the events of its workers. Safe to call from several threads.

    workers: how many cells run at a time.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        cells: Path,
        workers: int,
        expected: Expected,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tasks, self.cells, self.workers, self.clock = tasks, cells, workers, clock
        self.expected = expected
        self.working: dict[str, CellCourse] = {}
        self.total = self.begun = self.ended = 0
        self._over: set[str] = set()  # ids of cells that ended
        self._paces: dict[str, tuple[str, float]] = {}  # cell -> its method, seconds per image
        self._guesses: dict[str, Guess | None] = {}
        self._scored: list[float] = []  # seconds of each cell that was only scored
        self._lock = threading.RLock()

    def see(self, task: Task, event: Event) -> str | None:
        """Follow an event; the line that it deserves, if any. Every line is in the cell's log."""
        with self._lock:
            line = self._line(task, event)
            if line is not None:
                self._log(task, line)
            return line

    def left(self) -> float | None:
        """Seconds to the end of the run: cells at work by their own pace, those that wait by stored
        cells of their method, else by the pace of this run. None while the time of a training is
        not known: cells that are only scored say nothing about it."""
        with self._lock:
            now = self.clock()
            free = [self._left_of(cell, now) for cell in self.working.values()]
            waiting = {one.id: one for one in self.tasks if one.waits}
            ahead = [
                self._seconds(one, one.state == "train")
                for one in waiting.values()
                if one.id not in self.working and one.id not in self._over
            ]
        known = [seconds for seconds in (*free, *ahead) if seconds is not None]
        if len(known) < len(free) + len(ahead) or not any(known):
            return None
        return _last_end(known[: len(free)], known[len(free) :], self.workers)

    def _left_of(self, cell: CellCourse, now: float) -> float | None:
        """Seconds to the end of a cell at work."""
        if cell.share == 1.0:
            return 0.0
        left = cell.left(now)
        if left is None and (whole := self._seconds(cell.task, cell.trains)) is not None:
            left = max(0.0, whole - (now - cell.started))
        return left

    def _seconds(self, task: Task, trains: bool) -> float | None:
        """Seconds that a whole task takes; 0 for one that is only scored while none of them ended."""
        if not trains:
            return _mean(self._scored) or 0.0
        if task.id not in self._guesses:
            self._guesses[task.id] = self.expected.training(task)
        guess = self._guesses[task.id]
        if guess is not None:
            return guess.seconds
        own = [pace for method, pace in self._paces.values() if method == task.request.method]
        pace = _mean(own or [pace for _, pace in self._paces.values()])
        return None if pace is None else pace * self.expected.images(task)

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
            case Retry(why=why):
                cell = self.working[task.id]
                cell.doing, cell.step = "waits to be done again", ""
                return f"{self._where(cell)}: {why}"
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
        again = self.working.get(task.id)
        if again is not None:
            again.doing, again.step = "starting again", ""
            return f"{self._where(again)}: starts again on {device}"
        if not self.total:  # the states are settled by now, and duplicates have one id
            self.total = len({one.id for one in self.tasks if one.waits})
        self.begun += 1
        cell = CellCourse(task, min(self.begun, self.total), self.clock(), task.state == "train")
        self.working[task.id] = cell
        how = f", resumes at epoch {task.resume + 1}" if task.resume else ""
        return f"{self._where(cell)}: starts on {device}{how}"

    def _epoch(self, cell: CellCourse, event: Epoch) -> str:
        if not cell.before:
            cell.before = (event.epoch - 1) / event.epochs if cell.task.resume else 0.0
        cell.share = event.epoch / event.epochs
        self._measure(cell)
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

    def _measure(self, cell: CellCourse) -> None:
        """Keep the pace of a training so far, for the cells that wait."""
        images = self.expected.images(cell.task)
        if images:
            fresh = (cell.share - cell.before) / (1 - cell.before)
            spent = self.clock() - cell.started
            self._paces[cell.task.id] = (cell.task.request.method, spent / (images * fresh))

    def _end(self, task: Task, event: Finished | Failed) -> str:
        cell = self.working.pop(task.id)
        where, took = self._where(cell), duration(self.clock() - cell.started)
        if isinstance(event, Failed):
            if event.in_use:
                self.begun -= 1
                return f"{where}: {event.message} It is waited for when the rest is done."
            self._close(cell)
            return f"{where}: failed after {took}: {event.message}"
        self._close(cell)
        if not cell.trains:
            self._scored.append(self.clock() - cell.started)
        scores = ", ".join(f"{test} DSC {dsc:.3f}" for test, dsc in event.dsc.items())
        return f"{where}: done in {took}" + (f", {scores}" if scores else "")

    def _close(self, cell: CellCourse) -> None:
        self.ended += 1
        self._over.add(cell.task.id)

    def _where(self, cell: CellCourse) -> str:
        return f"cell {cell.number} of {self.total} {cell.task.request.label}"

    def _log(self, task: Task, line: str) -> None:
        """Append to the cell's log; a cell in use elsewhere has a log of that process."""
        folder = self.cells / task.id
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _last_end(at_work: Sequence[float], waiting: Sequence[float], workers: int) -> float:
    """Seconds to the end of the last task, each one begun by the worker that is free first."""
    free = [*at_work, *[0.0] * (workers - len(at_work))]
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
