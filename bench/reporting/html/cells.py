"""Cells as the page shows them: settings, provenance, curves and scores of every case."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bench.core.errors import BenchError
from bench.experiments.cells import HISTORY, CellRecord
from bench.reporting.frame import ScoreIndex
from bench.reporting.html.curves import curves_svg
from bench.reporting.html.grids import Box, Grid
from bench.reporting.html.part import Part
from bench.reporting.variants import variant_of

CASE_METRICS = ("dsc", "iou", "hd95")


class Pool:
    """Values of JSON, each distinct one stored once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """The number of a value."""
        text = json.dumps(value, sort_keys=True, default=str)
        return self._places.setdefault(text, len(self._places))

    def values(self) -> list[Any]:
        """All values by their numbers."""
        return [json.loads(text) for text in self._places]


@dataclass(frozen=True)
class CellView:
    """A cell's section. curves: inline SVG. remark: why something of it cannot be shown.

    data: what the script fills in: "facts", group -> number in the pool; "tests", a list of label,
    number of the case ids and rows of scores.
    """

    id: str
    label: str
    status: str
    curves: Markup
    remark: str
    data: dict[str, Any]


def cell_label(record: CellRecord) -> str:
    """ "GMS (tiny-vq) on busi, seed 0"."""
    variant = variant_of(record)
    words = [f"{name}={value}" for name, value in variant.settings.items()]
    words += [str(variant.tokenizer)] if variant.tokenizer else []
    tail = f" ({', '.join(words)})" if words else ""
    return f"{record.title}{tail} on {record.key.train}, seed {record.key.seed}"


def cell_view(record: CellRecord, part: Part, pool: Pool) -> CellView:
    """The section of one cell."""
    curves, remark = Markup(""), record.error or ""
    if HISTORY in record.files:
        try:
            curves = curves_svg(record.history())
        except BenchError as error:
            remark = str(error)
    facts = {title: pool.place(value) for title, value in _facts(record).items()}
    data = {"facts": facts, "tests": _tests(record, part.scores, pool)}
    return CellView(record.id, cell_label(record), record.status, curves, remark, data)


def _facts(record: CellRecord) -> dict[str, Any]:
    """Groups of facts, as mappings."""
    key = record.key.model_dump(mode="json", exclude={"settings", "changed", "preset"})
    counts = {
        "network size": record.network_size,
        "trainable parameters": _count(record.trainable_params).text,
        "total parameters": _count(record.total_params).text,
    }
    rest = {k: v for k, v in record.provenance.items() if k not in ("packages", "request")}
    groups = {
        "Cell": key | counts,
        "Settings": record.key.settings,
        "Changed settings": record.key.changed,
        "Recipe": record.recipe,
        "Remarks": dict(enumerate(record.footnotes, 1)),
        "Provenance": rest,
        "Packages": record.provenance.get("packages", {}),
        "Request": record.provenance.get("request", {}),
        "Digests": record.inputs,
    }
    return {title: value for title, value in groups.items() if value}


def _tests(record: CellRecord, scores: ScoreIndex, pool: Pool) -> list[dict[str, Any]]:
    found = []
    for label in record.tests:
        test, subset = label.rsplit("-", 1)
        frames = {
            name: scores.rows(record.id, test, subset, "network", name) for name in CASE_METRICS
        }
        first = frames["dsc"]
        columns = [
            _rounded(frames[name]["value"], 2 if name == "hd95" else 4) for name in CASE_METRICS
        ]
        found.append(
            {
                "title": f"{test} ({subset})",
                "cases": pool.place(first["case"].astype(str).tolist()),
                "empty": pool.place(first["empty"].astype(str).tolist()),
                "scores": columns,
            }
        )
    return found


def _rounded(values: Any, digits: int) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), digits) for value in values]


INDEX_HEADERS = (
    *("Method", "Trained on", "Seed", "State", "DSC (%)", "Tokenizer", "Epochs"),
    *("Parameters", "Training (s)", "Recipe", "Device"),
)


def index_grid(part: Part) -> Grid:
    """All cells of a part, a row each. DSC: mean on the own test subset."""
    records = sorted(part.cells, key=lambda r: (r.key.train, r.title, r.id))
    return Grid(
        title=f"{len(records)} cells",
        headers=INDEX_HEADERS,
        rows=tuple(_index_row(record, part) for record in records),
    )


def _index_row(record: CellRecord, part: Part) -> tuple[Box, ...]:
    key, seconds = record.key, record.provenance.get("train_seconds")
    own = part.scores.rows(record.id, key.train, "test", "network", "dsc")["value"]
    dsc = 100 * float(own.mean()) if len(own) else None
    tokenizer = key.tokenizer.name if key.tokenizer else ""
    changed = ", ".join(f"{name}={value}" for name, value in key.changed.items())
    name = f"{record.title} ({changed})" if changed else record.title
    device = str(record.provenance.get("device", "–"))
    return (
        Box(name, name, cell=record.id),
        Box(part.titles.get(key.train, key.train), key.train),
        Box(str(key.seed), key.seed),
        Box(record.status, record.status),
        Box("–" if dsc is None else f"{dsc:.2f}", dsc),
        Box(tokenizer or "–", tokenizer),
        Box(str(key.epochs), key.epochs),
        _count(record.trainable_params),
        Box("–" if seconds is None else f"{seconds:.0f}", seconds),
        Box(key.recipe, key.recipe),
        Box(device, device),
    )


def _count(number: int | None) -> Box:
    return Box("–" if number is None else f"{number:,}", number)


def views(parts: Sequence[Part], pool: Pool) -> list[CellView]:
    """The sections of all cells, in the order of the parts' lists."""
    return [
        cell_view(record, part, pool)
        for part in parts
        for record in sorted(part.cells, key=lambda r: (r.key.train, r.title, r.id))
    ]
