"""Verifying stored cells: what their folders say, their scores, their training and predictions."""

import logging
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import BenchError
from bench.core.files import digest, file_digest
from bench.core.provenance import now
from bench.experiments.cells import HISTORY, RECORD, WEIGHTS, CellRecord, CellRequest, TestSet
from bench.experiments.code_digest import training_code
from bench.experiments.executors.local import LocalExecutor
from bench.experiments.identity import WORDS, data_inputs
from bench.experiments.messages import Event, Failed, Job, Replayed
from bench.experiments.replay.adopt import adopted, move
from bench.experiments.replay.checks import Check, Verification, judged, passed, skipped
from bench.experiments.replay.compare import Judged, judge
from bench.experiments.replay.marks import store_marks
from bench.experiments.replay.rescore import check_scores, test_sets
from bench.experiments.replay.rows import target_checks
from bench.experiments.replay.stored import asked, check_stored
from bench.experiments.sources import Sources
from bench.registry import plugin_files, source_file

logger = logging.getLogger("bench")

Follow = Callable[[str, Event], None]
"""Called with a cell's id and each event of its replay."""


@dataclass(frozen=True)
class VerifyOptions:
    """How to verify.

    quick: nothing is trained or predicted, and torch is not needed. epochs: to train again, at least
    1. sample: cases of each test set that medpy scores. adopt: move cells whose code changed without
    changing a number.
    """

    data: Path | None = None
    cards: tuple[Path, ...] = ()
    device: str = "cpu"
    epochs: int = 1
    sample: int = 20
    quick: bool = False
    adopt: bool = False


def cell_folders(results: Path) -> list[Path]:
    """The folders below `results` that hold a record, sorted by name."""
    return sorted(file.parent for file in (results / "cells").glob(f"*/{RECORD}"))


def folder_digest(folders: Iterable[Path]) -> str:
    """sha256, hex, over the names and records of cells: equal for equal results.

    The records hold the checksums of all other files, so this one number, published with a paper,
    binds them all.
    """
    return digest({folder.name: file_digest(folder / RECORD) for folder in folders})


def verify(
    folders: list[Path], options: VerifyOptions, follow: Follow | None = None
) -> list[Verification]:
    """Verify cells one after the other, and keep each outcome beside its cell."""
    verifier = _Verifier(options, follow or (lambda cell, event: None))
    stored = [check_stored(folder) for folder in folders]
    targets = target_checks(record for record, _ in stored if record is not None)
    done = []
    for folder, (record, checks) in zip(folders, stored, strict=True):
        own = [*checks, *(targets.get(record.id, []) if record else [])]
        done.append(verifier.verification(folder, record, own))
    return done


class _Verifier:
    """One command's verification: sources are read once for all cells of a profile."""

    def __init__(self, options: VerifyOptions, follow: Follow) -> None:
        self.options, self.follow = options, follow
        self._sources: dict[str, Sources] = {}

    def verification(
        self, folder: Path, record: CellRecord | None, checks: list[Check]
    ) -> Verification:
        """All checks of a cell, given those of its folder alone."""
        request = asked(record) if record is not None else None
        replayed, judgement = None, Judged((), False)
        if record is not None and record.status == "done" and request is not None:
            checks = [*checks, *self._with_data(record, request)]
            if not self.options.quick:
                replayed, judgement = self._replay(record, request, checks)
                checks = [*checks, *judgement.checks, *_not_predicted(record, replayed)]
        found = Verification(cell=folder.name, checks=tuple(checks))
        try:
            store_marks(folder, checks, now(), always=not self.options.quick)
        except OSError as error:  # results that this user may only read
            logger.warning("the outcome is not kept in %s: %s", folder, error)
        if not self.options.adopt or record is None or request is None:
            return found
        return self._adopted(found, record, request, replayed, judgement)

    def sources(self, request: CellRequest) -> Sources:
        """The datasets under the request's profile."""
        name = digest(request.profile.model_dump(mode="json"))
        if name not in self._sources:
            cards = list(self.options.cards)
            self._sources[name] = Sources(request.profile, self.options.data, cards)
        return self._sources[name]

    def _with_data(self, record: CellRecord, request: CellRequest) -> list[Check]:
        sources = self.sources(request)
        scores = check_scores(record, request, sources, self.options.sample)
        return [*scores, self._data(record, request), _code(record)]

    def _data(self, record: CellRecord, request: CellRequest) -> Check:
        """Whether the training data at hand is the cell's."""
        try:
            inputs = data_inputs(request, self.sources(request))
        except BenchError as error:
            return skipped("training data", str(error))
        other = [WORDS[name] for name, value in inputs.items() if record.inputs.get(name) != value]
        if other:
            said = f"{' and '.join(other)} at hand are not those of the cell"
            return skipped("training data", said)
        return passed("training data", "the digests of data and split")

    # ---- training and prediction

    def _replay(
        self, record: CellRecord, request: CellRequest, checks: list[Check]
    ) -> tuple[Replayed | None, Judged]:
        """(what a worker repeated, what that means); (None, why not) where nothing could be."""
        if any(check.outcome == "failed" for check in checks):
            why = "the stored files are not as recorded"
            return None, Judged((skipped("training", why),), False)
        data = self._data(record, request)
        if data.outcome == "skipped":
            return None, Judged((skipped("training", data.detail),), False)
        end = self._worked(record, request)
        if isinstance(end, Failed):
            last = (end.traceback or "").strip().splitlines()[-1:]
            said = " ".join([f"the replay failed: {end.message}", *last])
            return None, Judged((judged("training", [said], ""),), False)
        if end.unavailable:
            return None, Judged((skipped("training", end.unavailable),), False)
        assert record.folder is not None
        rows: list[dict[str, Any]] = pd.read_parquet(record.folder / HISTORY).to_dict("records")  # type: ignore[assignment]
        return end, judge(record, rows, end)

    def _worked(self, record: CellRecord, request: CellRequest) -> Replayed | Failed:
        """Let a worker repeat the cell with as many threads as it was trained with."""
        ends: list[Event] = []

        def on_event(tag: str, event: Event) -> None:
            if isinstance(event, Replayed | Failed):
                ends.append(event)
            self.follow(tag, event)

        threads = int(record.provenance.get("threads", 1))
        with tempfile.TemporaryDirectory() as logs:
            executor = LocalExecutor([self.options.device], threads, Path(logs))
            with executor:
                executor.map([(record.id, self._job(record, request))], on_event)
        (end,) = ends
        assert isinstance(end, Replayed | Failed)
        return end

    def _job(self, record: CellRecord, request: CellRequest) -> Job:
        assert record.folder is not None
        sources = self.sources(request)
        return Job(
            op="replay",
            request=request.model_copy(update={"tests": self._predictable(record, request)}),
            request_digest=record.request,
            train_cases=len(sources.split(request.train, request.protocol).train),
            id=record.id,
            inputs=record.inputs,
            folder=record.folder.resolve(),
            data=self.options.data,
            cards=self.options.cards,
            plugins=plugin_files(),
            epochs=self.options.epochs,
        )

    def _predictable(self, record: CellRecord, request: CellRequest) -> tuple[TestSet, ...]:
        """The stored test sets that can be predicted again: weights and cases are at hand."""
        assert record.folder is not None
        if not (record.folder / WEIGHTS).is_file():
            return ()
        own = {label: self._cases(test, request) for label, test in test_sets(record)}
        return tuple(t for label, t in test_sets(record) if own[label] == record.tests[label].cases)

    def _cases(self, test: TestSet, request: CellRequest) -> str:
        try:
            return self.sources(request).test_digest(test, request.protocol)
        except BenchError:
            return ""  # `check_scores` has said why

    # ---- adoption

    def _adopted(
        self,
        found: Verification,
        record: CellRecord,
        request: CellRequest,
        replayed: Replayed | None,
        judgement: Judged,
    ) -> Verification:
        """The verification, with the cell's new id where it was moved."""
        why = _not_proven(record, found, replayed, judgement)
        if why or replayed is None:
            return found.model_copy(update={"adoption": why, "refused": True})
        compared = {
            "checks": {
                check.name: check.detail for check in found.checks if check in judgement.checks
            },
            "machine": replayed.machine,
        }
        try:
            new = adopted(record, request, self.sources(request), compared, replayed.resolved_alike)
            if new is None:
                said = "nothing to adopt: the cell's digests are those of today's code"
                return found.model_copy(update={"adoption": said})
            move(record, new)
        except BenchError as error:
            return found.model_copy(update={"adoption": str(error), "refused": True})
        said = f"moved to {new.id}: its numbers are those of today's code"
        return found.model_copy(update={"adopted": new.id, "adoption": said})


def _not_proven(
    record: CellRecord, found: Verification, replayed: Replayed | None, judgement: Judged
) -> str:
    """Why the checks do not show that today's code gives the cell's numbers; "" if they do."""
    if found.failed:
        return "not adopted: a check failed"
    if replayed is None:
        return "not adopted: its training was not repeated"
    if not replayed.pixels.keys() >= record.tests.keys():
        return "not adopted: not every test set was predicted again"
    if not judgement.equal:
        return "not adopted: training and predictions must agree in every bit, on the machine it was trained on"
    return ""


def _not_predicted(record: CellRecord, replayed: Replayed | None) -> list[Check]:
    """The test sets whose predictions were not repeated."""
    done = replayed.pixels if replayed is not None else {}
    why = "its weights or its images are not at hand, or an earlier check failed"
    return [skipped(f"predictions of {label}", why) for label in record.tests if label not in done]


def _code(record: CellRecord) -> Check:
    """Whether the code that trained the cell is the code of today."""
    name = "training code"
    try:
        today = training_code(source_file(record.key.method))
    except BenchError as error:
        return skipped(name, str(error))
    if today == record.inputs.get("code"):
        return passed(name, "as it was")
    return skipped(name, "changed since the cell was trained; only a repeated training tells more")
