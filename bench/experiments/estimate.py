"""What a run will take, before it starts: disk from the resolved cells, time from stored ones."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.experiments.cells import CellRecord
from bench.experiments.runner import Task
from bench.experiments.sources import Sources

STATES = 5  # at most, in weights: the weights, their average, the selected ones, two per optimizer


@dataclass(frozen=True)
class Disk:
    """Bytes: stored for good, besides them while cells train, and free on the results' disk."""

    stored: int
    passing: int
    free: int


def disk(tasks: Sequence[Task], sources: Sources, out: Path, workers: int) -> Disk:
    """The disk that the resolved tasks need; predictions are counted uncompressed at the scored
    size, twice: the images' own size is not known here."""
    todo = {task.id: task for task in tasks if task.waits}.values()
    trained = [task.weights_bytes for task in todo if task.state == "train"]
    masks = 0
    for task in todo:
        side = task.request.profile.image_size
        for test in task.request.tests:
            masks += 2 * len(sources.test_cases(test, task.request.protocol)) * side**2 // 8
    passing = STATES * sum(sorted(trained)[-workers:])
    return Disk(sum(trained) + masks, passing, shutil.disk_usage(_existing(out)).free)


def _existing(folder: Path) -> Path:
    """The nearest folder above that is there."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return folder


@dataclass(frozen=True)
class Guess:
    """Seconds that a cell's training takes, and what they rest on, in words."""

    seconds: float
    basis: str


def from_stored(task: Task, records: Sequence[CellRecord]) -> Guess | None:
    """The time of a task by stored cells of its method, dataset, profile and size; None without
    one."""
    assert task.resolution is not None
    key = task.resolution.key
    rates = []
    for record in records:
        same = (record.key.method, record.key.train, record.key.profile, record.key.image_size) == (
            key.method, key.train, key.profile, key.image_size
        )  # fmt: skip
        rate = _epoch_seconds(record) if same and record.status == "done" else None
        rates += [rate] if rate is not None else []
    if not rates:
        return None
    rate = sum(rates) / len(rates)
    return Guess(rate * epochs_left(task), f"{len(rates)} stored cells")


def _epoch_seconds(record: CellRecord) -> float | None:
    """Seconds of an epoch of a stored cell, validation included; None where it does not say."""
    seconds = record.provenance.get("train_seconds")
    if seconds is None:
        return None
    try:
        epochs = len(record.history())
    except (BenchError, KeyError, AssertionError):
        return None
    return seconds / epochs if epochs else None


def epochs_left(task: Task) -> int:
    """Epochs that a resolved task still trains."""
    assert task.resolution is not None
    return max(0, task.resolution.recipe.epochs - task.resume)
