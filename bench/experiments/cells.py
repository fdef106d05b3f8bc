"""Cells: one trained combination each, as a request, and as the record of what was done.

A record's identity is a digest of what determines its numbers. A *request* is what a matrix asks
for; it matches a finished record when every setting it names agrees and the record changed no other
setting from the method's default. So planning needs no method's code, hence no torch.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from bench.core.errors import BenchError, faults
from bench.core.files import digest, write_json, write_with
from bench.core.frozen import Frozen
from bench.protocols import Profile, Protocol, Selection
from bench.registry import choose_tokenizer

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1


class TestSet(Frozen):
    """Cases to score: the `test` part of a dataset's split, or `all` its cases."""

    dataset: str
    subset: Literal["test", "all"] = "test"

    @property
    def label(self) -> str:
        """`busi-test`: names the file of scores."""
        return f"{self.dataset}-{self.subset}"


class TokenizerKey(Frozen):
    """Which tokenizer the cell used, the sha256 of its weights, and the role the method asks for
    when no tokenizer is named."""

    name: str
    role: Literal["continuous", "discrete"]
    default_role: Literal["continuous", "discrete"]
    weights_hash: str


class CellRequest(Frozen):
    """What a matrix asks for: one training, and the test sets to score it on.

    settings: the method settings that differ from its defaults, or state them. tokenizer: NAME,
    NAME@LOCATION, or a role of the profile ("continuous", "discrete"); None takes the method's own
    role. recipe: changes to the recipe's fields.
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

    @property
    def given_settings(self) -> dict[str, Any]:
        """The profile's settings for this method, overruled by the request's own."""
        return self.profile.settings.get(self.method, {}) | self.settings

    @property
    def label(self) -> str:
        """A line that tells this cell from its neighbours."""
        extras = [f"{key}={value}" for key, value in sorted(self.settings.items())]
        extras += [self.tokenizer] if self.tokenizer else []
        tail = f" [{', '.join(extras)}]" if extras else ""
        return f"{self.method}{tail} on {self.train}, seed {self.seed}"


class CellKey(Frozen):
    """The coordinates of a cell: what tables select and compare by."""

    method: str
    settings: dict[str, Any]
    changed: dict[str, Any]
    tokenizer: TokenizerKey | None
    train: str
    protocol: str
    selection: Selection
    recipe: str
    seed: int
    profile: str
    epochs: int
    image_size: int


class CellRecord(Frozen):
    """What `cell.json` holds; see the attributes' names.

    request: digest of everything in the request but its test sets and settings. inputs: digests of
    data, split and code. footnotes: remarks that tables print as footnotes.
    provenance: versions, commit, device, times, peak memory.
    """

    format: Literal[1] = 1
    id: str
    status: Literal["done", "failed"]
    key: CellKey
    request: str
    inputs: dict[str, str]
    title: str
    family: str
    trainable_params: int | None = None  # None: failed before the method was built
    total_params: int | None = None
    footnotes: tuple[str, ...] = ()
    provenance: dict[str, Any] = {}
    error: str | None = None
    folder: Path | None = None  # where it was read from; not stored

    def write(self, folder: Path) -> None:
        """Write `cell.json`; last of all files, since its presence says that the cell ended."""
        write_json(folder / "cell.json", self.model_dump(mode="json", exclude={"folder"}))

    def scores_file(self, dataset: str, subset: str) -> Path:
        """Where the rows of one test set lie."""
        assert self.folder is not None
        return self.folder / "scores" / f"{dataset}-{subset}.parquet"

    def has_scores(self, dataset: str, subset: str) -> bool:
        """Whether this cell was scored on that test set."""
        return self.scores_file(dataset, subset).is_file()

    def scores(self, dataset: str, subset: str) -> "pd.DataFrame":
        """The per-case rows of one test set; see bench/metrics for the columns."""
        import pandas as pd  # late: planning a run reads records only

        return pd.read_parquet(self.scores_file(dataset, subset))

    def history(self) -> "pd.DataFrame":
        """One row per epoch: epoch, lr, loss and its parts, val_dsc, test_dsc, seconds."""
        assert self.folder is not None
        import pandas as pd

        return pd.read_parquet(self.folder / "history.parquet")


def request_digest(request: CellRequest) -> str:
    """Digest of a request without its settings (matched one by one) and its test sets."""
    profile = request.profile.model_dump(exclude={"settings", "title", "tokenizers"})
    protocol = request.protocol.model_dump(exclude={"title", "external_subset"})
    return digest(
        {
            "method": request.method,
            "train": request.train,
            "seed": request.seed,
            "protocol": protocol,
            "profile": profile,
            "recipe": request.recipe,
        }
    )


def cell_id(record_key: CellKey, request: str, inputs: dict[str, str]) -> str:
    """`<method>-<train>-<12 hex digits>`: the folder's name."""
    content = {"key": record_key.model_dump(mode="json"), "request": request, "inputs": inputs}
    method = record_key.method.replace(":", "-").replace("/", "-")
    return f"{method}-{record_key.train}-{digest(content)[:12]}"


def matches(record: CellRecord, request: CellRequest, inputs: dict[str, str]) -> bool:
    """Whether the record is the training that the request asks for, on the same inputs."""
    given = request.given_settings
    return (
        record.request == request_digest(request)
        and record.inputs == inputs
        and all(record.key.settings.get(k, _MISSING) == v for k, v in given.items())
        and all(k in given for k in record.key.changed)
        and _same_tokenizer(record.key.tokenizer, request)
    )


def _same_tokenizer(key: TokenizerKey | None, request: CellRequest) -> bool:
    if key is None:
        return True  # the method takes none, whatever the request names
    chosen = choose_tokenizer(key.default_role, request.tokenizer, request.profile.tokenizers)
    assert chosen is not None
    spec, location = chosen
    return spec.name == key.name and spec.weights_hash(location) == key.weights_hash


_MISSING = object()


def load_cells(folder: Path) -> list[CellRecord]:
    """Every cell record under `folder` (results/cells), sorted by id.

    Raises BenchError when a record is damaged or of another format.
    """
    return [load_cell(file) for file in sorted(folder.glob("*/cell.json"))]


def load_cell(file: Path) -> CellRecord:
    """One record from its `cell.json`."""
    try:
        return CellRecord(**json.loads(file.read_text()), folder=file.parent)
    except (ValidationError, ValueError) as error:
        why = faults(error) if isinstance(error, ValidationError) else error
        raise BenchError(
            f"{file} is no cell record of format {FORMAT}: {why}. Delete its folder and run the "
            "cell again."
        ) from error


def write_frame(file: Path, frame: "pd.DataFrame") -> None:
    """A table of rows as Parquet, atomically."""
    write_with(file, lambda target: frame.to_parquet(target, index=False))


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
