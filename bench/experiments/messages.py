"""What a runner and its workers say to each other: typed records, one JSON object a line.

An executor carries them and reads nothing but the kind of an event.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bench.core.frozen import Frozen
from bench.experiments.cells import CellRequest
from bench.experiments.identity import Resolution


class TrialJob(Frozen):
    """The trial of a search that a "trial" job trains.

    storage, study, number: where optuna keeps it. pruner: "median", "hyperband" or "none". trials:
    planned ones of the study. epochs: of a whole trial with the method's own recipe. images: the
    trial stops after the batch that reaches them.
    """

    storage: str
    study: str
    number: int
    pruner: Literal["median", "hyperband", "none"]
    trials: int
    epochs: int
    images: int


class Job(Frozen):
    """One piece of work for a worker.

    version: raised with every change of a record in this module, so that a worker of another
    version refuses the job.

    op: "resolve" fills in a request's defaults, "train" trains and scores a cell, "test" scores a
    trained cell, "replay" repeats the start of a stored cell's training and its predictions, "time"
    takes a few training steps and keeps nothing, "trial" trains a trial of a search and scores it on
    validation cases only. epochs: of a replay's training, 0 for none. trial: of a "trial" job.
    request_digest, inputs: what the cell's record keeps; see `bench.experiments`.
    folder: of the cell. train_cases: how many cases the split trains on. data, cards, plugins: as
    on the command line. device: set by the executor.
    """

    version: Literal[4] = 4
    op: Literal["resolve", "train", "test", "replay", "time", "trial"]
    request: CellRequest
    request_digest: str
    train_cases: int
    id: str = ""
    inputs: dict[str, str] = {}
    folder: Path | None = None
    data: Path | None = None
    cards: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()
    device: str = "cpu"
    epochs: int = 0
    trial: TrialJob | None = None


class Started(Frozen):
    """A worker took the job."""

    kind: Literal["started"] = "started"
    device: str


class Step(Frozen):
    """An optimizer step is done. epoch, step: 0-based; steps: of the epoch."""

    kind: Literal["step"] = "step"
    epoch: int
    step: int
    steps: int


class Epoch(Frozen):
    """An epoch is done. epoch: 1-based, of `epochs`. row: its row of the history, null for NaN."""

    kind: Literal["epoch"] = "epoch"
    epoch: int
    epochs: int
    row: dict[str, float | None]


class Scoring(Frozen):
    """A test set is predicted or scored. test: its label."""

    kind: Literal["scoring"] = "scoring"
    test: str


class Retry(Frozen):
    """The job is done again from what it stored, by another worker or later. why: a sentence."""

    kind: Literal["retry"] = "retry"
    why: str


class Resolved(Frozen):
    """A "resolve" job ended well. weights_bytes: of the weights that the cell will store. search:
    what the method declares for `bench tune`."""

    kind: Literal["resolved"] = "resolved"
    resolution: Resolution
    weights_bytes: int = 0
    search: dict[str, dict[str, Any] | None] = {}


class Timed(Frozen):
    """A "time" job ended well. epoch_seconds: of training, without validation."""

    kind: Literal["timed"] = "timed"
    epoch_seconds: float


class Finished(Frozen):
    """A "train" or "test" job ended well. dsc: mean DSC in [0, 1] by test set's label.

    peak_bytes, device_bytes: the most that the training held of its GPU's memory, and all that the
    GPU has; 0 where nothing was trained on a GPU.
    """

    kind: Literal["finished"] = "finished"
    dsc: dict[str, float]
    peak_bytes: int = 0
    device_bytes: int = 0


class Tried(Frozen):
    """A "trial" job ended.

    outcome: "complete"; "pruned" by the pruner; "cut" where its images were spent before its last
    epoch; "failed" with `error`. value: best score on validation cases, in [0, 1], None without one;
    epoch: 1-based, of that score. images: training images seen, augmented copies counted each.
    """

    kind: Literal["tried"] = "tried"
    outcome: Literal["complete", "pruned", "cut", "failed"]
    value: float | None = None
    epoch: int | None = None
    images: int = 0
    seconds: float = 0.0
    error: str = ""


class Replayed(Frozen):
    """A "replay" job ended well.

    history: a row per epoch trained, null for NaN. weights_equal: whether the weights after the
    whole training equal the stored ones in every bit, None where it was not run to its end.
    pixels: test set's label -> (pixels that differ from the stored predictions, pixels) over both
    grids. resolved_alike: whether the request means the recorded settings, recipe and size today,
    too. machine: what computed. unavailable: why nothing could be repeated here.
    """

    kind: Literal["replayed"] = "replayed"
    history: tuple[dict[str, float | None], ...] = ()
    weights_equal: bool | None = None
    pixels: dict[str, tuple[int, int]] = {}
    resolved_alike: bool = False
    machine: dict[str, str | int | None] = {}
    unavailable: str = ""


class Leaving(Frozen):
    """The worker process ends after this job, because the job changed process-wide settings."""

    kind: Literal["leaving"] = "leaving"
    changed: tuple[str, ...]


class Failed(Frozen):
    """The job ended with an error. traceback: null where the message says it all.

    Where the worker process ended, the traceback is the end of its log. in_use: another process works
    on the cell and will record how that ends. fault: "memory" where the device had too little of it,
    "device" where the process can use its device no more, "files" where the node does not see the
    run's folders.
    """

    kind: Literal["failed"] = "failed"
    message: str
    traceback: str | None = None
    in_use: bool = False
    fault: Literal["", "memory", "device", "files"] = ""


Progress = Step | Epoch | Scoring
End = Resolved | Timed | Finished | Tried | Replayed | Failed
Event = Started | Retry | Progress | Leaving | End

_EVENTS: TypeAdapter[Any] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def read_event(line: str) -> Event | None:
    """The event in a line of a worker's output; None for a line that is no event, such as what a
    library printed."""
    try:
        return _EVENTS.validate_json(line)
    except ValidationError:
        return None


def is_end(event: Event) -> bool:
    """Whether the job's last event."""
    return isinstance(event, End)
