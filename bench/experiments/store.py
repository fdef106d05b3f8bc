"""The stored cells of one results folder, and what is left to do for a request.

This is the one place that decides whether a cell is done.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.core.errors import BenchError
from bench.core.files import digest, file_digest, set_aside
from bench.experiments.attempts import asked_for, epochs_done, unfinished
from bench.experiments.cells import (
    CellRecord,
    CellRequest,
    TestSet,
    load_cell,
    readable_cells,
)
from bench.experiments.code_digest import resolving_code
from bench.experiments.identity import (
    Resolution,
    cell_id,
    differences,
    requested_inputs,
    scoring_inputs,
    training_inputs,
)
from bench.experiments.predictions import predictions_file
from bench.experiments.sources import Sources
from bench.recipes import Recipe
from bench.registry import source_file

logger = logging.getLogger("bench")

TestWork = Literal["done", "score", "predict"]
"""What a test set of a trained cell needs: nothing, scores of its stored predictions, or
predictions by the stored weights."""


@dataclass
class Lookup:
    """What the store says about a request.

    id, inputs: of the cell that the request means; "" and {} while the method's code is needed to
    tell. work: test set's label -> what it needs. why: the components in which the nearest stored
    cell differs, for a cell that has to train. resume: epochs of it that are done and stored.
    """

    id: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    record: CellRecord | None = None
    work: dict[str, TestWork] = field(default_factory=dict)
    why: tuple[str, ...] = ()
    resume: int = 0

    @property
    def trained(self) -> bool:
        """Whether the cell's weights are stored."""
        return self.record is not None

    @property
    def done(self) -> bool:
        """Whether the cell is trained and scored on all its test sets."""
        return self.trained and set(self.work.values()) <= {"done"}


class CellStore:
    """The records of one folder of cells, read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = {record.id: record for record in readable_cells(folder)}
        self._by_request: dict[str, list[CellRecord]] = {}
        for record in self.records.values():
            self._by_request.setdefault(record.request, []).append(record)
        self._unfinished = {one.attempt.asked: one.epoch for one in unfinished(folder)}

    def lookup(self, request: CellRequest, sources: Sources) -> Lookup:
        """What is stored for a request, without importing its method.

        Raises BenchError when data or weights of a tokenizer are missing.
        """
        alike = self._by_request.get(request_digest(request), [])
        known = next((record for record in alike if _same_settings(record, request)), None)
        if known is None:
            inputs = requested_inputs(request, sources)
            asked = asked_for(request, request_digest(request), inputs)
            return Lookup(why=self._reasons(request, inputs), resume=self._unfinished.get(asked, 0))
        return self.find(request, recorded_resolution(known), sources)

    def find(self, request: CellRequest, resolution: Resolution, sources: Sources) -> Lookup:
        """What is stored for a resolved request."""
        inputs = training_inputs(request, resolution, sources)
        id = cell_id(resolution.key, inputs)
        record = self.records.get(id)
        if record is None or record.status != "done":
            resume = epochs_done(self.folder / id)
            return Lookup(id, inputs, why=self._reasons(request, inputs), resume=resume)
        return Lookup(id, inputs, record, left_to_do(record, request, sources))

    def _reasons(self, request: CellRequest, inputs: dict[str, str]) -> tuple[str, ...]:
        """In which components the nearest finished cell of the same coordinates differs."""
        same = [record for record in self.records.values() if _same_coordinates(record, request)]
        found = [differences(record.inputs, inputs) for record in same]
        return min((names for names in found if names), key=len, default=())


def reload(folder: Path) -> CellRecord | None:
    """A cell's record if it is done by now; read under the cell's lock.

    A damaged record is set aside: the cell trains again.
    """
    file = folder / "cell.json"
    if not file.exists():
        return None
    try:
        record = load_cell(file)
    except BenchError as error:
        logger.warning("%s It is kept as %s.", error, set_aside(file).name)
        return None
    return record if record.status == "done" else None


def left_to_do(record: CellRecord, request: CellRequest, sources: Sources) -> dict[str, TestWork]:
    """Test set's label -> what is left to do for it."""
    return {test.label: _work(record, test, request, sources) for test in request.tests}


def _work(record: CellRecord, test: TestSet, request: CellRequest, sources: Sources) -> TestWork:
    assert record.folder is not None
    cases, scoring = scoring_inputs(test, request, sources)
    stored = record.tests.get(test.label)
    if stored is None or stored.cases != cases:
        return "predict"
    file = record.scores_file(test.dataset, test.subset)
    scored = stored.scoring == scoring and file.is_file() and file_digest(file) == stored.scores
    predicted = predictions_file(record.folder, test.label).is_file()
    # A record without the facts about its data gets them when its predictions are scored again.
    stated = {request.train, test.dataset} <= record.data.keys()
    if scored and (stated or not predicted):
        return "done"
    return "score" if predicted else "predict"


def request_digest(request: CellRequest) -> str:
    """Digest of all that a request says about its training but the method's settings, and of the
    code that resolves it. The test sets do not count.

    With equal digests, equal settings mean equal cells; see `_same_settings`.
    """
    profile = request.profile.model_dump(mode="json", exclude={"title"})
    unread = {"title", "external_subset", "optimism"}
    protocol = request.protocol.model_dump(mode="json", exclude=unread)
    asked = request.model_dump(mode="json", exclude={"tests", "settings", "protocol", "profile"})
    if asked["tuned"] is None:  # a later field: digests of before it stay equal
        del asked["tuned"]
    return digest([asked, profile, protocol, resolving_code(source_file(request.method))])


def _same_settings(record: CellRecord, request: CellRequest) -> bool:
    """Whether the request's settings resolve to the record's: each stated value agrees, and what
    differs from a default is stated or from the preset."""
    key, given = record.key, request.settings
    stated = all(name in key.settings and key.settings[name] == given[name] for name in given)
    preset = all(key.settings[name] == key.preset[name] for name in key.preset.keys() - given)
    return stated and preset and key.changed.keys() <= given.keys() | key.preset.keys()


def recorded_resolution(record: CellRecord) -> Resolution:
    """What the cell's request was resolved to when it trained."""
    assert record.network_size is not None
    return Resolution(
        key=record.key,
        recipe=Recipe(**record.recipe),
        network_size=record.network_size,
        title=record.title,
        family=record.family,
        initial_weights=record.provenance.get("initial_weights", ""),
    )


def _same_coordinates(record: CellRecord, request: CellRequest) -> bool:
    key = record.key
    asked = (request.method, request.train, request.protocol.name, request.profile.name)
    return (
        record.status == "done"
        and (key.method, key.train, key.protocol, key.profile) == asked
        and key.seed == request.seed
        and all(key.settings.get(name) == value for name, value in request.settings.items())
    )
