"""The predictions to look at: which cases, and images and outlines of all methods' masks, packed."""

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.experiments.cells import TestSet
from bench.reporting.cases import (
    Case,
    Chosen,
    Images,
    Line,
    Mask,
    averages,
    thirds,
    worst_median_best,
)
from bench.reporting.html.contours import outline
from bench.reporting.html.part import Part
from bench.reporting.tables import Column
from bench.reporting.tables.footer import column_title

MOST_PIXELS = 256  # side of an embedded image; outlines keep the network's grid
GIVE_UP = 3  # cases that did not fit, after which no other is tried: their outlines take time


@dataclass
class Gallery:
    """One test set: the chosen cases in order of importance.

    masks: of each line, by case id. reasons: case id -> why it is shown. note: what is not shown,
    and why.
    """

    title: str
    lines: list[Line]
    masks: Sequence[Mapping[str, Mask]]
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
            "preds": [outline(masks[case]) if case in masks else None for masks in self.masks],
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
            "picks": [places.get(order[at]) for at in thirds(len(order))],
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


def galleries(part: Part, images: Images, chosen: Chosen | None = None) -> list[Gallery]:
    """One per test set of the part's tables that has a case to show; chosen: cases that come first."""
    found = []
    for column, rows in _columns(part).items():
        lines = [line for line in _lines(part, column, rows) if line.dsc]
        if lines:
            title = column_title(column.train, column.test, part.titles)
            title += " (all cases)" if column.subset == "all" else ""
            asked = (chosen or {}).get(column.test, ())
            found.append(_gallery(title, column, lines, images, asked))
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
        yield Line(row, record, dsc)


def _gallery(
    title: str, column: Column, lines: list[Line], images: Images, chosen: Sequence[str]
) -> Gallery:
    record, label = lines[0].record, f"{column.test}-{column.subset}"
    kept = {case: own for case, (own, _) in images.kept(lines[0], label).items()}
    everything = images.of(record, TestSet(dataset=column.test, subset=column.subset))  # type: ignore[arg-type]
    reasons: dict[str, list[str]] = {}
    for case, why in _choices(lines, chosen, list(kept)):
        reasons.setdefault(case, []).append(why)
    note = ""
    if everything is None:
        note = "The data is not at hand: only the images that the cells keep are shown."
        absent = [case for case in chosen if case not in kept]
        note += f" Asked for and not among them: {', '.join(absent)}." if absent else ""
        reasons = {case: why for case, why in reasons.items() if case in kept}
    masks = [images.masks(line, label, reasons) for line in lines]
    return Gallery(title, lines, masks, everything or kept.get, reasons, note)


def _choices(
    lines: Sequence[Line], chosen: Sequence[str], kept: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """(case id, why), the most important first."""
    for case in chosen:
        if any(case in line.dsc for line in lines):
            yield case, "asked for"
    means = averages(lines)
    for case, word in worst_median_best(means):
        yield case, f"{word} on average"
    if means and len(lines) > 1:
        spread = {case: float(np.ptp([line.dsc[case] for line in lines])) for case in means}
        yield max(spread, key=lambda case: (spread[case], case)), "methods differ most"
    for words, place in (("worst", 0), ("best", 2), ("median", 1)):
        for line in lines:
            order = line.ordered()
            yield order[thirds(len(order))[place]], f"{words} of {line.label}"
    for case in kept:
        yield case, "kept with the cells"
