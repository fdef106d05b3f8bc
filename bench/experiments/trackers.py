"""Following a run in an experiment tracker: TensorBoard, MLflow or Weights & Biases.

Each is an optional package, imported when it is asked for. A tracker gets every cell's
configuration, epoch rows, final scores, and the run's figures; it changes no number.
"""

import importlib.util
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.core.errors import BenchError, unknown_name
from bench.experiments.messages import Epoch, Event, Failed, Finished, Started
from bench.experiments.runner import Task

logger = logging.getLogger("bench")

Numbers = dict[str, float]


class Tracker(Protocol):
    """What a tracker has to take. A cell is named by its id; numbers are finite."""

    def begin(self, cell: str, label: str, configuration: dict[str, Any]) -> None:
        """A cell starts, perhaps for the second time. label: its words."""

    def epoch(self, cell: str, number: int, row: Numbers) -> None:
        """An epoch ended; number: 1-based."""

    def end(self, cell: str, scores: Numbers, failed: bool) -> None:
        """The cell ended. scores: final ones by name, such as "busi-test DSC"."""

    def figures(self, files: Sequence[Path]) -> None:
        """The run's figures, PNG files."""

    def close(self) -> None:
        """Nothing more comes."""


class TensorBoard:
    """Event files, one folder for each cell."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.writer = folder, SummaryWriter
        self.writers: dict[str, Any] = {}

    def begin(self, cell: str, label: str, configuration: dict[str, Any]) -> None:
        writer = self.writers[cell] = self.writer(self.folder / cell)
        text = json.dumps(configuration, indent=2, sort_keys=True)
        writer.add_text("configuration", f"{label}\n\n```\n{text}\n```")

    def epoch(self, cell: str, number: int, row: Numbers) -> None:
        for name, value in row.items():
            self.writers[cell].add_scalar(name, value, number)

    def end(self, cell: str, scores: Numbers, failed: bool) -> None:
        writer = self.writers.pop(cell)
        for name, value in scores.items():
            writer.add_scalar(f"final/{name.replace(' ', '_')}", value, 0)
        writer.close()

    def figures(self, files: Sequence[Path]) -> None:
        import numpy as np
        from PIL import Image

        writer = self.writer(self.folder / "figures")
        for file in files:
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer.add_image(file.stem, pixels, dataformats="HWC")
        writer.close()

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()


class MLflow:
    """A run for each cell, in the store of $MLFLOW_TRACKING_URI or a local one in `folder`."""

    EXPERIMENT = "gms-bench"

    def __init__(self, folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        folder, server = folder.resolve(), os.environ.get("MLFLOW_TRACKING_URI")
        folder.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(server or f"sqlite:///{folder / 'mlflow.db'}")
        known = self.client.get_experiment_by_name(self.EXPERIMENT)
        place = None if server else (folder / "artifacts").as_uri()
        self.experiment = (
            known.experiment_id
            if known
            else self.client.create_experiment(self.EXPERIMENT, artifact_location=place)
        )
        self.runs: dict[str, str] = {}

    def begin(self, cell: str, label: str, configuration: dict[str, Any]) -> None:
        run = self.client.create_run(self.experiment, run_name=label, tags={"cell": cell})
        self.runs[cell] = run.info.run_id
        for name, value in _flat(configuration).items():
            self.client.log_param(self.runs[cell], name, str(value)[:500])

    def epoch(self, cell: str, number: int, row: Numbers) -> None:
        for name, value in row.items():
            self.client.log_metric(self.runs[cell], name, value, step=number)

    def end(self, cell: str, scores: Numbers, failed: bool) -> None:
        run = self.runs.pop(cell)
        for name, value in scores.items():
            self.client.log_metric(run, f"final {name}", value)
        self.client.set_terminated(run, "FAILED" if failed else "FINISHED")

    def figures(self, files: Sequence[Path]) -> None:
        run = self.client.create_run(self.experiment, run_name="figures").info.run_id
        for file in files:
            self.client.log_artifact(run, str(file))
        self.client.set_terminated(run)

    def close(self) -> None:
        for run in self.runs.values():
            self.client.set_terminated(run, "KILLED")


class WeightsAndBiases:
    """A run for each cell in the project `gms-bench`; where it goes, wandb's own settings say."""

    PROJECT = "gms-bench"

    def __init__(self, folder: Path) -> None:
        import wandb

        if wandb.setup().settings.mode == "online":
            try:
                wandb.login()  # asks in a terminal, before there is a progress display
            except wandb.errors.Error as error:
                raise BenchError(
                    f"--track wandb: {error} Or set WANDB_MODE=offline: runs stay in {folder}."
                ) from error
        folder.mkdir(parents=True, exist_ok=True)
        self.wandb, self.folder = wandb, folder
        self.runs: dict[str, Any] = {}

    def _run(self, name: str, configuration: dict[str, Any]) -> Any:
        """silent, console: it would write into the progress display, and take what is printed."""
        return self.wandb.init(
            project=self.PROJECT, name=name, config=configuration, dir=str(self.folder),
            reinit="create_new", settings=self.wandb.Settings(silent=True, console="off"),
        )  # fmt: skip

    def begin(self, cell: str, label: str, configuration: dict[str, Any]) -> None:
        self.runs[cell] = self._run(label, configuration)

    def epoch(self, cell: str, number: int, row: Numbers) -> None:
        self.runs[cell].log(row, step=number)

    def end(self, cell: str, scores: Numbers, failed: bool) -> None:
        run = self.runs.pop(cell)
        run.summary.update(scores)
        run.finish(exit_code=int(failed))

    def figures(self, files: Sequence[Path]) -> None:
        run = self._run("figures", {})
        run.log({file.stem: self.wandb.Image(str(file)) for file in files})
        run.finish()

    def close(self) -> None:
        for run in self.runs.values():
            run.finish(exit_code=1)


TRACKERS: dict[str, tuple[str, Callable[[Path], Tracker]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "mlflow": ("mlflow", MLflow),
    "wandb": ("wandb", WeightsAndBiases),
}
"""Name -> (the package that it needs, how it is made for a folder)."""


def make_tracker(name: str, results: Path) -> Tracker:
    """The tracker called `name`, which keeps its local files in `<results>/tracking/<name>`.

    Raises BenchError for an unknown name, and where its package is not installed.
    """
    if name not in TRACKERS:
        raise unknown_name("tracker", name, TRACKERS)
    package, make = TRACKERS[name]
    if importlib.util.find_spec(package) is None:
        raise BenchError(
            f"--track {name} needs the package {package}: python -m pip install 'gms-bench[{name}]'."
        )
    return make(results / "tracking" / name)


class Tracking:
    """Hands a run's events on to trackers. One that fails is left out from then on, with a warning:
    a tracker's server may be away, and the cells go on."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = list(trackers)
        self._begun: set[str] = set()
        self._lock = threading.Lock()

    def see(self, task: Task, event: Event) -> None:
        """Follow an event of a run."""
        match event:
            case Started(device=device):
                if task.id in self._begun:  # it goes on after a fault
                    return
                self._begun.add(task.id)
                words = _configuration(task) | {"device": device}
                self._all(lambda tracker: tracker.begin(task.id, task.request.label, words))
            case Epoch(epoch=epoch, row=row):
                numbers = {name: value for name, value in row.items() if value is not None}
                self._all(lambda tracker: tracker.epoch(task.id, epoch, numbers))
            case Finished(dsc=dsc):
                self._begun.discard(task.id)
                scores = {f"{test} DSC": value for test, value in dsc.items()}
                self._all(lambda tracker: tracker.end(task.id, scores, False))
            case Failed():
                self._begun.discard(task.id)
                self._all(lambda tracker: tracker.end(task.id, {}, not event.in_use))

    def figures(self, files: Sequence[Path]) -> None:
        """Hand on the figures among the files of a report."""
        pictures = [file for file in files if file.suffix == ".png"]
        if pictures:
            self._all(lambda tracker: tracker.figures(pictures))

    def close(self) -> None:
        """End every tracker."""
        self._all(lambda tracker: tracker.close())

    def _all(self, act: Callable[[Tracker], None]) -> None:
        with self._lock:
            for tracker in list(self.trackers):
                try:
                    act(tracker)
                except Exception as error:  # noqa: BLE001 - whatever a server or its client raises
                    self.trackers.remove(tracker)
                    name = type(tracker).__name__
                    logger.warning("%s is left out from now on: %s", name, error)


def _configuration(task: Task) -> dict[str, Any]:
    """The cell's coordinates, settings and recipe, once it is resolved."""
    if task.resolution is None:
        return {"request": task.request.model_dump(mode="json")}
    key = task.resolution.key.model_dump(mode="json", exclude={"preset", "changed"})
    return key | {"cell": task.id, "recipe": task.resolution.recipe.model_dump(mode="json")}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
