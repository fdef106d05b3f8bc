"""The predictions to look at: which cases, their images, and outlines of all methods' masks.

Images come from the prepared data or the phantoms where they are those that were scored, else from
the few examples that every cell keeps.
"""

import base64
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.experiments.cells import CellRecord, CellRequest, TestSet
from bench.experiments.predictions import read_predictions
from bench.experiments.sources import Sources
from bench.reporting.html.contours import outline
from bench.reporting.html.part import Part
from bench.reporting.tables import Column
from bench.reporting.tables.footer import column_title

MOST_PIXELS = 256  # side of an embedded image; outlines keep the network's grid
GIVE_UP = 3  # cases that did not fit, after which no other is tried: their outlines take time
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """image: uint8 (H, W, 3). target: bool (H, W)."""

    image: NDArray[np.uint8]
    target: Mask


@dataclass(frozen=True)
class Line:
    """A method on one test set: DSC in [0, 1] by case id, and its stored masks by case id."""

    label: str
    record: CellRecord
    dsc: dict[str, float]
    preds: dict[str, Mask]

    def ordered(self) -> list[str]:
        """Case ids, worst first; equal scores by id."""
        return sorted(self.dsc, key=lambda case: (self.dsc[case], case))


@dataclass
class Gallery:
    """One test set: the chosen cases in order of importance.

    reasons: case id -> why it is shown. note: what is not shown, and why. size: (H, W) of the masks.
    """

    title: str
    lines: list[Line]
    pictures: Callable[[str], Case | None]
    reasons: dict[str, list[str]]
    note: str = ""
    packed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def pack(self, budget: int) -> int:
        """Pack cases until `budget` characters are spent; returns those that are left."""
        missing = cut = 0
        for case in self.reasons:
            if cut >= GIVE_UP:
                cut += 1
                continue
            found = self.pictures(case)
            if found is None:
                missing += 1
                continue
            item = self._item(case, found)
            cost = len(json.dumps(item))
            if cost > budget:
                cut += 1
                continue
            budget -= cost
            self.packed[case] = item
        words = [self.note] if self.note else []
        words += [f"{missing} chosen cases have no image here."] if missing else []
        words += [f"{cut} chosen cases are left out to keep the page small."] if cut else []
        self.note = " ".join(words)
        return budget

    def _item(self, case: str, found: Case) -> dict[str, Any]:
        return {
            "id": case,
            "why": self.reasons[case],
            "image": data_uri(found.image),
            "target": outline(found.target),
            "size": list(found.target.shape),
            "preds": [
                outline(line.preds[case]) if case in line.preds else None for line in self.lines
            ],
        }

    def content(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "title": self.title,
            "note": self.note,
            "cases": list(self.packed.values()),
            "lines": [self._line(line) for line in self.lines],
        }

    def _line(self, line: Line) -> dict[str, Any]:
        order = line.ordered()
        places = {case: at for at, case in enumerate(self.packed)}
        return {
            "label": line.label,
            "cell": line.record.id,
            "n": len(order),
            "dsc": [_percent(line.dsc.get(case)) for case in places],
            "rank": [order.index(case) + 1 if case in line.dsc else None for case in places],
            "picks": [places.get(order[at]) for at in (0, (len(order) - 1) // 2, -1)],
        }


def _percent(dsc: float | None) -> float | None:
    return None if dsc is None else round(100 * dsc, 2)


def data_uri(image: NDArray[np.uint8]) -> str:
    """A JPEG of at most MOST_PIXELS a side; grey where all channels agree."""
    grey = (image == image[..., :1]).all()
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if grey else image))
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}"


# ---- which cases


def galleries(part: Part, images: "Images") -> list[Gallery]:
    """One per test set of the part's tables that has a case to show."""
    found = []
    for column, rows in _columns(part).items():
        lines = [line for line in _lines(part, column, rows) if line.dsc]
        if lines:
            title = column_title(column.train, column.test, part.titles)
            title += " (all cases)" if column.subset == "all" else ""
            found.append(_gallery(title, column, lines, images))
    return found


def _columns(part: Part) -> dict[Column, dict[str, str]]:
    """Test set -> row's label -> cell of its first seed, as the tables show them."""
    found: dict[Column, dict[str, str]] = {}
    for table in part.tables:
        for row in table.rows:
            for entry in row.entries:
                if entry.column and entry.metric == "dsc" and entry.cells:
                    label = row.label or " ".join(row.lead)
                    found.setdefault(entry.column, {}).setdefault(label, entry.cells[0])
    return found


def _lines(part: Part, column: Column, rows: dict[str, str]) -> Iterator[Line]:
    """The rows whose cells were scored on the very same cases as the first one's."""
    records = {record.id: record for record in part.cells}
    label, cases = f"{column.test}-{column.subset}", None
    used: set[str] = set()
    for row, cell in rows.items():
        record = records[cell]
        if cell in used or label not in record.tests:
            continue
        cases = cases or record.tests[label].cases
        if record.tests[label].cases != cases:
            continue
        used.add(cell)
        scores = part.scores.rows(cell, column.test, column.subset, "network", "dsc")
        dsc = dict(zip(scores["case"].astype(str), scores["value"].astype(float), strict=True))
        yield Line(row, record, dsc, _preds(record, label))


def _preds(record: CellRecord, label: str) -> dict[str, Mask]:
    """Masks on the network grid by case; those of the kept examples where no other are at hand."""
    assert record.folder is not None
    try:
        found = read_predictions(record.folder, label, record.tests[label].predictions)
    except BenchError:
        return {case: pred for case, (_, pred) in _examples(record, label).items()}
    return dict(zip(found.case_ids, found.network, strict=True))


def _examples(record: CellRecord, label: str) -> dict[str, tuple[Case, Mask]]:
    """The kept examples of a cell: case id -> the case and the predicted mask."""
    assert record.folder is not None
    file = record.folder / "scores" / f"{label}-examples.npz"
    if not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            ids = map(str, stored["case_ids"])
            rows = zip(stored["images"], stored["masks"], stored["preds"], strict=True)
            return {
                case: (Case(image, mask.astype(bool)), pred.astype(bool))
                for case, (image, mask, pred) in zip(ids, rows, strict=True)
            }
    except (OSError, ValueError, KeyError, EOFError):  # damaged: nothing to show, nothing to score
        return {}


def _gallery(title: str, column: Column, lines: list[Line], images: "Images") -> Gallery:
    record, label = lines[0].record, f"{column.test}-{column.subset}"
    kept = {case: own for case, (own, _) in _examples(record, label).items()}
    everything = images.of(record, TestSet(dataset=column.test, subset=column.subset))  # type: ignore[arg-type]
    reasons: dict[str, list[str]] = {}
    for case, why in _choices(lines, list(kept)):
        reasons.setdefault(case, []).append(why)
    if everything:
        return Gallery(title, lines, everything, reasons)
    note = "The data is not at hand: only the images that the cells keep are shown."
    shown = {case: why for case, why in reasons.items() if case in kept}
    return Gallery(title, lines, kept.get, shown, note)


def _choices(lines: Sequence[Line], kept: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(case id, why), the most important first."""
    means = {
        case: float(np.mean([line.dsc[case] for line in lines]))
        for case in lines[0].dsc
        if all(case in line.dsc for line in lines)
    }
    if means:
        order = sorted(means, key=lambda case: (means[case], case))
        for words, at in zip(("worst", "median", "best"), _thirds(len(order)), strict=True):
            yield order[at], f"{words} on average"
        if len(lines) > 1:
            spread = {case: float(np.ptp([line.dsc[case] for line in lines])) for case in means}
            yield max(spread, key=lambda case: (spread[case], case)), "methods differ most"
    for words, place in (("worst", 0), ("best", 2), ("median", 1)):
        for line in lines:
            order = line.ordered()
            yield order[_thirds(len(order))[place]], f"{words} of {line.label}"
    for case in kept:
        yield case, "kept with the cells"


def _thirds(count: int) -> tuple[int, int, int]:
    """Places of the worst, the median (the lower one of two) and the best."""
    return 0, (count - 1) // 2, count - 1


# ---- images


class Images:
    """Images and masks of test cases from prepared data or phantoms, where they are what was scored.

    data: the folder of prepared datasets, None for phantoms alone.
    """

    def __init__(self, data: Path | None, cards: Sequence[Path] = ()) -> None:
        self._data, self._cards = data, list(cards)
        self._sources: dict[str, Sources] = {}

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
