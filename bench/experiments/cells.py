"""Cells: one trained combination each, as a request, and as the record of what was done.

A *request* says what a matrix asks for, in the user's words. A *record* (`cell.json`) says what ran:
the cell's coordinates, a digest of everything that decided its numbers, and checksums of its files.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from bench.core.errors import BenchError, faults
from bench.core.files import digest, file_digest, write_json, write_with
from bench.core.frozen import FileName, Frozen
from bench.core.reading import parse_json, read_text
from bench.experiments.facts import DataFacts
from bench.protocols import Profile, Protocol, Selection

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("bench")

FORMAT = 2
RECORD, WEIGHTS, HISTORY = "cell.json", "weights.safetensors", "history.parquet"


class TestSet(Frozen):
    """Cases to score: the `test` subset of a dataset's split, or `all` its cases."""

    dataset: str
    subset: Literal["test", "all"] = "test"

    @property
    def label(self) -> str:
        """`busi-test`: names the files of predictions and scores."""
        return f"{self.dataset}-{self.subset}"


class TokenizerKey(Frozen):
    """Which tokenizer the cell used, the sha256 of its weights, and the role the method asks for
    when no tokenizer is named."""

    name: str
    role: Literal["continuous", "discrete"]
    default_role: Literal["continuous", "discrete"]
    weights_hash: str


class Tuned(Frozen):
    """The search that found a request's settings and recipe.

    study: `SEARCH/METHOD-DATASET`, below results/tuning. trial: the winner's number. trials, images:
    what the study ran and saw in all. planned, budget: images that every study of the search was given,
    and those of one trial. score, value: what the winner was chosen by, on validation cases, in [0, 1].
    image_size: side in px of the search's images.
    """

    study: str
    trial: int
    trials: int
    images: int
    planned: int
    budget: int
    score: str
    value: float
    image_size: int

    @property
    def found(self) -> str:
        """ "SEARCH/METHOD-DATASET, trial 3"."""
        return f"{self.study}, trial {self.trial}"


class CellRequest(Frozen):
    """What a matrix asks for: one training, and the test sets to score it on.

    settings: the method settings that the user states; they overrule those of the presets.
    tokenizer: NAME, NAME@LOCATION, or a role of the profile ("continuous", "discrete"); None takes
    the method's own role. recipe: changes to the recipe's fields. tuned: the search that found these
    settings and changes.
    """

    method: str
    train: str
    tests: tuple[TestSet, ...]
    seed: int
    protocol: Protocol
    profile: Profile
    settings: dict[str, Any] = {}
    tokenizer: str | None = None
    recipe: dict[str, Any] = {}
    tuned: Tuned | None = None

    @property
    def label(self) -> str:
        """A line that tells this cell from its neighbours."""
        extras = [f"{key}={value}" for key, value in sorted(self.settings.items())]
        extras += [self.tokenizer] if self.tokenizer else []
        tail = f" [{', '.join(extras)}]" if extras else ""
        return f"{self.method}{tail} on {self.train}, seed {self.seed}"


class CellKey(Frozen):
    """The coordinates of a cell: what tables select and compare by.

    settings: all settings of the method. preset: those among them that a preset gave, the
    profile's or the protocol's.
    changed: those that differ from the method's defaults. recipe: its name; the recipe itself is in
    the record.
    """

    method: str
    settings: dict[str, Any]
    preset: dict[str, Any] = {}
    changed: dict[str, Any]
    tokenizer: TokenizerKey | None
    train: str
    protocol: FileName
    selection: Selection
    recipe: str
    seed: int
    profile: FileName
    epochs: int
    image_size: int


class StoredTest(Frozen):
    """What one stored test set rests on, as digests.

    cases: its case ids, images and masks. predictions, scores: sha256 of the two files.
    scoring: the code that made the scores of the predictions.
    """

    cases: str
    predictions: str
    scoring: str
    scores: str


class CellRecord(Frozen):
    """What `cell.json` holds.

    request: digest of the request and of the code that resolves it; see `bench.experiments.store`.
    inputs: the training digest by component (code, data, split, ...); see
    `bench.experiments.identity`. recipe: all its fields. network_size: side in px of the images that
    the network gets. tests: test set's label -> what its files rest on. data: the training dataset
    and those of the test sets, as the cell found them. files: sha256 of the
    weights and the history. footnotes: remarks that tables print below the method's row.
    provenance: versions, commit, device, times, peak memory. checksum: `record_checksum` of the
    stored content, None in records of before it was kept; every write sets it.
    """

    format: Literal[2] = 2
    id: str
    status: Literal["done", "failed"]
    key: CellKey
    request: str
    inputs: dict[str, str]
    recipe: dict[str, Any] = {}
    network_size: int | None = None
    tests: dict[str, StoredTest] = {}
    data: dict[str, DataFacts] = {}
    files: dict[str, str] = {}
    title: str
    family: str
    trainable_params: int | None = None  # None: failed before the method was built
    total_params: int | None = None
    footnotes: tuple[str, ...] = ()
    provenance: dict[str, Any] = {}
    error: str | None = None
    checksum: str | None = None
    folder: Path | None = None  # where it was read from; not stored

    def write(self, folder: Path) -> None:
        """Write `cell.json`; last of all files, since its presence says that the cell ended."""
        content = self.model_dump(mode="json", exclude={"folder", "checksum"})
        write_json(folder / RECORD, content | {"checksum": record_checksum(content)})

    def scores_file(self, dataset: str, subset: str) -> Path:
        """Where the per-case scores of one test set lie."""
        assert self.folder is not None
        return self.folder / "scores" / f"{dataset}-{subset}.parquet"

    def has_scores(self, dataset: str, subset: str) -> bool:
        """Whether this cell was scored on that test set."""
        return f"{dataset}-{subset}" in self.tests and self.scores_file(dataset, subset).is_file()

    def scores(self, dataset: str, subset: str) -> "pd.DataFrame":
        """The per-case rows of one test set; see bench/metrics for the columns.

        Raises BenchError when the file is not the one that the record was written with.
        """
        file = self.scores_file(dataset, subset)
        self._require(file, self.tests[f"{dataset}-{subset}"].scores)
        rows = _read_frame(file)
        for name in ("dsc", "iou"):
            if name not in rows or not rows[name].between(0, 1).all():  # NaN is outside
                raise BenchError(
                    f"{file} has a {name} outside 0 to 1. Delete the folder of cell {self.id} and run "
                    "its matrix again."
                )
        return rows

    def history(self) -> "pd.DataFrame":
        """One row per epoch: epoch, lr, loss and its terms, val_dsc, test_dsc, the score of another
        selection metric (test_soft_dice), seconds."""
        assert self.folder is not None
        file = self.folder / HISTORY
        self._require(file, self.files.get(HISTORY, ""))
        return _read_frame(file)

    def _require(self, file: Path, checksum: str) -> None:
        if not file.is_file() or file_digest(file) != checksum:
            raise BenchError(
                f"{file} is missing or was changed since cell {self.id} was stored. Run the cell's "
                "matrix again: scores are made anew from the stored predictions."
            )


def record_checksum(content: dict[str, Any]) -> str:
    """sha256, hex, of what `cell.json` holds besides its own checksum.

    Of the stored content, not of the model: a later field with a default changes no checksum.
    """
    return digest({name: value for name, value in content.items() if name != "checksum"})


def load_cells(folder: Path) -> list[CellRecord]:
    """Every cell record under `folder` (results/cells), sorted by id.

    Raises BenchError when a record is damaged or of another format.
    """
    return [load_cell(file) for file in sorted(folder.glob(f"*/{RECORD}"))]


def readable_cells(folder: Path) -> list[CellRecord]:
    """As `load_cells`, where a damaged record costs its own cell alone: it is named in a warning."""
    records = []
    for file in sorted(folder.glob(f"*/{RECORD}")):
        try:
            records.append(load_cell(file))
        except BenchError as error:
            logger.warning("%s", error)
    return records


def load_cell(file: Path) -> CellRecord:
    """One record from its `cell.json`; BenchError when it is damaged or of another format."""
    try:
        content = parse_json(read_text(file, "cell record"))
        if isinstance(content, dict) and content.get("format") == 1:
            raise BenchError(
                f"{file} is a record of format 1, which stored no predictions and whose digests "
                f"covered unrelated code, so it cannot be carried over: move {file.parent.parent} "
                "aside and run the matrix again."
            )
        return CellRecord(**content, folder=file.parent)
    except (ValidationError, ValueError, TypeError) as error:
        why = faults(error) if isinstance(error, ValidationError) else error
        raise BenchError(
            f"{file} is no cell record of format {FORMAT}: {why}. Delete its folder and run the "
            "cell again."
        ) from error


def _read_frame(file: Path) -> "pd.DataFrame":
    import pandas as pd  # late: planning a run reads records only

    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise BenchError(f"{file} is no Parquet file: {error}. Run the cell again.") from error


def write_frame(file: Path, frame: "pd.DataFrame") -> str:
    """Write a table of rows as Parquet, atomically; returns the file's sha256."""
    write_with(file, lambda target: frame.to_parquet(target, index=False))
    return file_digest(file)


def merge_requests(requests: Iterable[CellRequest]) -> list[CellRequest]:
    """Requests for the same training become one that scores all their test sets."""
    merged: dict[str, CellRequest] = {}
    for request in requests:
        name = digest(request.model_dump(mode="json", exclude={"tests"}))
        if name in merged:
            tests = dict.fromkeys((*merged[name].tests, *request.tests))
            merged[name] = request.model_copy(update={"tests": tuple(tests)})
        else:
            merged[name] = request
    return list(merged.values())
