"""Test cases to look at: their images and targets, the masks that cells predicted, and which to show.

Images come from the prepared data or the phantoms where they are those that were scored, else from
the few examples that every cell keeps.
"""

import difflib
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bench.core.errors import BenchError, unknown_name
from bench.experiments.cells import CellRecord, CellRequest, TestSet
from bench.experiments.predictions import read_predictions
from bench.experiments.sources import Sources
from bench.reporting.frame import ScoreIndex

logger = logging.getLogger("bench")

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

Chosen = Mapping[str, Sequence[str]]
"""Dataset -> ids of test cases that the user wants to see."""


@dataclass(frozen=True)
class Case:
    """image: uint8 (H, W, 3). target: bool (H, W)."""

    image: Image
    target: Mask


@dataclass(frozen=True)
class Line:
    """A row of a table on one test set: its first seed's cell, and DSC in [0, 1] by case id."""

    label: str
    record: CellRecord
    dsc: dict[str, float]

    def ordered(self) -> list[str]:
        """Case ids, worst first; equal scores by id."""
        return sorted(self.dsc, key=lambda case: (self.dsc[case], case))


# ---- which cases


def averages(lines: Sequence[Line]) -> dict[str, float]:
    """Case id -> mean DSC over the lines, for the cases that all of them have."""
    return {
        case: float(np.mean([line.dsc[case] for line in lines]))
        for case in (lines[0].dsc if lines else ())
        if all(case in line.dsc for line in lines)
    }


def thirds(count: int) -> tuple[int, int, int]:
    """Places of the worst, the median (the lower one of two) and the best."""
    return 0, (count - 1) // 2, count - 1


def worst_median_best(means: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """(case id, word) of three cases; equal means by id."""
    order = sorted(means, key=lambda case: (means[case], case))
    if order:
        for word, at in zip(("worst", "median", "best"), thirds(len(order)), strict=True):
            yield order[at], word


def require_cases(chosen: Chosen, records: Iterable[CellRecord], scores: ScoreIndex) -> None:
    """BenchError for a dataset or a case that no cell has scores of."""
    known: dict[str, set[str]] = {}
    for record in records if chosen else ():
        for label in record.tests:
            test, subset = label.rsplit("-", 1)
            rows = scores.rows(record.id, test, subset, "network", "dsc")
            known.setdefault(test, set()).update(rows["case"].astype(str))
    for dataset, cases in chosen.items():
        if dataset not in known:
            raise unknown_name("scored dataset", dataset, known)
        for case in cases:
            if case not in known[dataset]:
                near = difflib.get_close_matches(case, sorted(known[dataset]), n=3, cutoff=0.0)
                raise BenchError(
                    f"No scored test case of {dataset} has the id {case[:60]!r}. Near: "
                    f"{', '.join(near)}. {len(known[dataset])} cases have scores; the page lists "
                    "them with each cell."
                )


# ---- images and masks


class Images:
    """Images and masks of test cases from prepared data or phantoms, where they are what was scored.

    data: the folder of prepared datasets, None for phantoms alone. cards: the user's own.
    """

    def __init__(self, data: Path | None, cards: Sequence[Path] = ()) -> None:
        self._data, self._cards = data, list(cards)
        self._sources: dict[str, Sources] = {}
        self._kept: dict[tuple[str, str], dict[str, tuple[Case, Mask]]] = {}

    def of(self, record: CellRecord, test: TestSet) -> Callable[[str], Case | None] | None:
        """case id -> its picture; None where the test set's cases are not at hand."""
        try:
            request = CellRequest.model_validate(record.provenance.get("request"))
            sources = self._source(request)
            if sources.test_digest(test, request.protocol) != record.tests[test.label].cases:
                return None
            arrays = sources.arrays(test.dataset, request.profile.image_size)
        except (BenchError, ValidationError):
            return None

        def case(name: str) -> Case | None:
            (row,) = arrays.rows([name])
            return Case(arrays.images[row], arrays.masks[row])

        return case

    def _source(self, request: CellRequest) -> Sources:
        name = request.profile.model_dump_json()
        if name not in self._sources:
            self._sources[name] = Sources(request.profile, self._data, self._cards)
        return self._sources[name]

    def kept(self, line: Line, label: str) -> dict[str, tuple[Case, Mask]]:
        """The examples that a cell keeps of a test set: case id -> the case, the predicted mask.

        Damaged ones, and those of other cases than the cell's, are named in a warning and left out.
        """
        place = (line.record.id, label)
        if place not in self._kept:
            self._kept[place] = _examples(line, label)
        return self._kept[place]

    def masks(self, line: Line, label: str, cases: Iterable[str]) -> dict[str, Mask]:
        """Case id -> the predicted mask (H, W) on the network grid, of the cases that have one."""
        assert line.record.folder is not None
        wanted = set(cases)
        try:
            checksum = line.record.tests[label].predictions
            found = read_predictions(line.record.folder, label, checksum)
        except BenchError:
            kept = self.kept(line, label).items()
            return {case: pred for case, (_, pred) in kept if case in wanted}
        pairs = zip(found.case_ids, found.network, strict=True)
        return {case: mask for case, mask in pairs if case in wanted}


def _examples(line: Line, label: str) -> dict[str, tuple[Case, Mask]]:
    assert line.record.folder is not None
    file = line.record.folder / "scores" / f"{label}-examples.npz"
    if not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            ids = map(str, stored["case_ids"])
            rows = zip(stored["images"], stored["masks"], stored["preds"], strict=True)
            found = {
                case: (Case(image, mask.astype(bool)), pred.astype(bool))
                for case, (image, mask, pred) in zip(ids, rows, strict=True)
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, LookupError) as error:
        logger.warning("%s is damaged (%s): its cell shows no example. Delete it.", file, error)
        return {}
    if not found.keys() <= line.dsc.keys():
        logger.warning("%s is of other cases than its cell: no example is shown. Delete it.", file)
        return {}
    return found
