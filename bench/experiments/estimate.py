"""What a run will take, before it starts: disk from the resolved cells, time from stored ones."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.experiments.cells import CellRecord
from bench.experiments.lengths import images_per_epoch
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


class Expectation:
    """What is known of trainings before they run: their images, and the pace of stored cells."""

    def __init__(self, sources: Sources, records: Sequence[CellRecord], device: str) -> None:
        """device: "cpu" or "cuda:0", where the cells will train; stored cells of the other class of
        devices are no guide."""
        self._sources = sources
        kind = "CPU" if device == "cpu" else "GPU"
        self._records = [one for one in records if one.provenance.get("device_class") == kind]

    def images(self, task: Task) -> int:
        """Training images that a resolved task still shows."""
        assert task.resolution is not None
        split = self._sources.split(task.request.train, task.request.protocol)
        recipe = task.resolution.recipe
        return images_per_epoch(recipe, len(split.train)) * epochs_left(task)

    def training(self, task: Task) -> Guess | None:
        """The time of a resolved task by stored cells of its method, profile and size, those on its
        own dataset where there are any; None without one. Validation is included."""
        assert task.resolution is not None
        key = task.resolution.key
        wanted = (key.method, key.profile, key.image_size)
        near = [
            one
            for one in self._records
            if (one.key.method, one.key.profile, one.key.image_size) == wanted
        ]
        own = [record for record in near if record.key.train == key.train]
        paces = [pace for record in own or near if (pace := _image_seconds(record)) is not None]
        if not paces:
            return None
        seconds = sum(paces) / len(paces) * self.images(task)
        return Guess(seconds, f"{len(paces)} stored cell" + "s" * (len(paces) > 1))


def _image_seconds(record: CellRecord) -> float | None:
    """Seconds for each training image of a stored cell, validation included; None where it does not
    say."""
    seconds, images = (record.provenance.get(name) for name in ("train_seconds", "images_seen"))
    return seconds / images if record.status == "done" and seconds and images else None


def epochs_left(task: Task) -> int:
    """Epochs that a resolved task still trains."""
    assert task.resolution is not None
    return max(0, task.resolution.recipe.epochs - task.resume)


def measured(task: Task, images: int, folder: Path, device: str) -> Guess | None:
    """The time of a resolved task that shows so many images, by the efficiency page that `bench
    measure` left in `folder` for this device; None where it has no row of the task's method,
    network size and precision. Validation is not included.
    """
    assert task.resolution is not None
    file = folder / f"efficiency-{device.replace(':', '')}.csv"
    if not file.is_file():
        return None
    side = task.resolution.network_size
    wanted = (task.request.method, task.request.profile.precision)
    with file.open(newline="") as text:
        for row in csv.DictReader(text):
            rate = row.get("train_images_per_second")
            same = (row["method"], row["precision"]) == wanted and row.get("form") != "released"
            if same and rate and float(row["network_side"]) == side:
                return Guess(images / float(rate), "bench measure, no validation")
    return None
