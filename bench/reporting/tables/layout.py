"""Which stored cells make which rows: from a matrix's table block to rows and columns."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.core.frozen import Frozen
from bench.experiments.cells import CellRecord, CellRequest
from bench.experiments.matrices import TableBlock
from bench.metrics.aggregate import Metric
from bench.reporting.published import load_edition
from bench.reporting.tables.table import Column

REFERENCE = "gms"
"""The method that the paper's ablations vary and that daggers compare parameters with."""

LOSSES = ("lm", "seg", "lm+seg")
PRINTED_TOKENIZERS = {"vq": "vq-vae", "sd-vae": "sd-vae"}  # our names -> the paper's Table 5

METRICS: dict[str, tuple[Metric, ...]] = {
    "methods": ("dsc", "iou", "hd95"),
    "cross-domain": ("dsc", "hd95"),
    "losses": ("dsc", "iou", "hd95"),
    "tokenizers": ("dsc", "iou", "hd95"),
    "parameters": (),
}


class Missing(Frozen):
    """A training that was asked for and has no record, and why ("not run", "no data ...")."""

    method: str
    train: str
    settings: dict[str, Any] = {}
    tokenizer: str | None = None
    reason: str = "not run"

    @classmethod
    def of(cls, request: CellRequest, reason: str = "not run") -> "Missing":
        """The absence of a requested cell."""
        return cls(
            method=request.method,
            train=request.train,
            settings=request.settings,
            tokenizer=request.tokenizer,
            reason=reason,
        )


@dataclass(frozen=True)
class Variant:
    """How a cell's method was set up: the settings that are not its defaults, and its tokenizer.

    Settings that the profile itself prescribes do not count. changes: JSON, keys sorted. own_role:
    the tokenizer's role is the one that the method asks for.
    """

    method: str
    changes: str = "{}"
    tokenizer: str | None = None
    role: str | None = None
    own_role: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The changes as a mapping."""
        changes: dict[str, Any] = json.loads(self.changes)
        return changes


@dataclass(frozen=True)
class Row:
    """One row to fill.

    label: its name in messages and footers. variant: None where nothing is stored for it.
    printed: loss and tokenizer by which the published tables know the row, None when they do not.
    """

    group: str
    label: str
    lead: tuple[str, ...]
    method: str
    variant: Variant | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    printed: tuple[str, str] | None = ("", "")

    def takes(self, record: CellRecord) -> bool:
        """Whether the record belongs to this row."""
        return self.variant is not None and variant_of(record) == self.variant


@dataclass(frozen=True)
class Layout:
    """A table's skeleton. remarks: what was left out of it, for the lines below."""

    block: TableBlock
    columns: tuple[Column, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()


def variant_of(record: CellRecord) -> Variant:
    """The variant a cell is of."""
    given = record.key.preset
    own = {k: v for k, v in record.key.changed.items() if k not in given or given[k] != v}
    tokenizer = record.key.tokenizer
    return Variant(
        record.key.method,
        json.dumps(own, sort_keys=True),
        tokenizer.name if tokenizer else None,
        tokenizer.role if tokenizer else None,
        tokenizer is None or tokenizer.role == tokenizer.default_role,
    )


def make_layout(
    block: TableBlock,
    cells: Sequence[CellRecord],
    missing: Sequence[Missing],
    external_subset: Literal["test", "all"],
) -> Layout:
    """The rows and columns of a block, from what is stored and what was asked for."""
    columns = _columns(block, external_subset)
    trains = {column.train for column in columns}
    if block.kind != "parameters":
        cells = [record for record in cells if _touches(record, columns)]
        missing = [item for item in missing if item.train in trains]
    remarks: tuple[str, ...] = ()
    if block.kind == "losses":
        rows = _loss_rows(cells, missing)
    elif block.kind == "tokenizers":
        rows = _tokenizer_rows(cells, missing)
    else:
        rows, remarks = _method_rows(cells, missing)
    return Layout(block, columns, METRICS[block.kind], tuple(rows), remarks)


def _touches(record: CellRecord, columns: Sequence[Column]) -> bool:
    """Whether a cell fills, or by failing empties, one of the columns."""
    mine = [column for column in columns if column.train == record.key.train]
    if record.status == "failed":
        return bool(mine)
    return any(record.has_scores(column.test, column.subset) for column in mine)


def _columns(block: TableBlock, external_subset: str) -> tuple[Column, ...]:
    if block.kind == "cross-domain":
        if not block.pairs:
            raise BenchError(f"Table {block.name!r} is cross-domain and names no pairs. Add them.")
        return tuple(Column(train, test, external_subset) for train, test in block.pairs)
    if block.kind != "parameters" and not block.datasets:
        raise BenchError(f"Table {block.name!r} names no datasets. Add datasets = [...].")
    return tuple(Column(name, name) for name in block.datasets)


def main_variants(cells: Iterable[CellRecord]) -> tuple[dict[str, list[Variant]], dict[str, int]]:
    """(method -> its variants that stand for the method itself, method -> number left out).

    The main ones have the fewest changed settings and a tokenizer of the role that the method asks
    for, where there are such. So an ablation's cells stay out of the comparison of methods.
    """
    found: dict[str, dict[Variant, None]] = {}
    for record in cells:
        found.setdefault(record.key.method, {})[variant_of(record)] = None
    main, left_out = {}, {}
    for method, variants in found.items():
        plainest = min(_plainness(variant) for variant in variants)
        kept = [variant for variant in variants if _plainness(variant) == plainest]
        main[method], left_out[method] = sorted(kept, key=str), len(variants) - len(kept)
    return main, left_out


def _plainness(variant: Variant) -> tuple[bool, int]:
    """Least for the method as it comes: its own tokenizer role, then the fewest changes."""
    return not variant.own_role, len(variant.settings)


def _method_rows(
    cells: Sequence[CellRecord], missing: Sequence[Missing]
) -> tuple[list[Row], tuple[str, ...]]:
    main, left_out = main_variants(cells)
    titles = {r.key.method: (r.family, r.title) for r in cells}
    asked = dict.fromkeys(item.method for item in missing if item.method not in main)
    rows = []
    for method in paper_order([*main, *asked]):
        group, title = titles.get(method) or _printed_names().get(method, ("", method))
        variants = main.get(method, [None])
        for variant in variants:
            words = _difference(variant, variants) if variant and len(variants) > 1 else ""
            rows.append(Row(group, title + words, (group, title + words), method, variant))
    groups = list(dict.fromkeys(row.group for row in rows))
    rows.sort(key=lambda row: groups.index(row.group))
    out = [f"{titles[m][1]} {n}" for m, n in left_out.items() if n]
    return rows, (
        f"Other settings or tokenizers stored and not shown: {', '.join(out)}.",
    ) if out else ()


def _difference(variant: Variant, others: Sequence[Variant | None]) -> str:
    """What tells a variant from its neighbours, in brackets."""
    words = [f"{key}={value}" for key, value in variant.settings.items()]
    if len({other.tokenizer for other in others if other}) > 1:
        words.append(str(variant.tokenizer))
    return f" [{', '.join(words)}]" if words else ""


def _reference_cells(cells: Iterable[CellRecord]) -> list[CellRecord]:
    return [record for record in cells if record.key.method == REFERENCE]


def _loss_rows(cells: Sequence[CellRecord], missing: Sequence[Missing]) -> list[Row]:
    """One row per loss of GMS, otherwise at its main settings; the paper's three always."""
    own = [record for record in _reference_cells(cells) if "loss" in record.key.settings]
    if not own and not any(item.method == REFERENCE for item in missing):
        return []
    variants = dict.fromkeys((record.key.settings["loss"], variant_of(record)) for record in own)
    rows = []
    for loss in dict.fromkeys((*LOSSES, *sorted({loss for loss, _ in variants}))):
        kept = _plainest([variant for other, variant in variants if other == loss])
        lead = tuple("✓" if part in loss.split("+") else "" for part in ("lm", "seg"))
        if loss not in LOSSES:
            lead = (loss, "")
        printed = (loss, "") if loss in LOSSES else None
        rows.append(Row("", f"loss {loss}", lead, REFERENCE, kept, {"loss": loss}, None, printed))
    return rows


def _plainest(variants: Sequence[Variant]) -> Variant | None:
    """The variant that is nearest to the method as it comes, of several with one loss."""
    return min(variants, key=lambda v: (_plainness(v), str(v)), default=None)


def _tokenizer_rows(cells: Sequence[CellRecord], missing: Sequence[Missing]) -> list[Row]:
    """One row per tokenizer of GMS at its main settings, discrete ones first as in the paper."""
    variants = dict.fromkeys(variant_of(record) for record in _reference_cells(cells))
    fewest = min((len(variant.settings) for variant in variants), default=0)
    kept = [v for v in variants if len(v.settings) == fewest and v.tokenizer is not None]
    kept.sort(key=lambda v: (v.role != "discrete", str(v.tokenizer)))
    rows = [
        Row("", name, (name, str(v.role)), REFERENCE, v, {}, name, _printed_as(v))
        for v in kept
        if (name := v.tokenizer)
    ]
    have = {name for v in kept for name in (v.tokenizer, v.role)}
    asked = [m.tokenizer for m in missing if m.method == REFERENCE and m.tokenizer]
    for name in dict.fromkeys(name for name in asked if name not in have):
        rows.append(Row("", name, (name, ""), REFERENCE, None, {}, name, None))
    return rows


def _printed_as(variant: Variant) -> tuple[str, str] | None:
    name = PRINTED_TOKENIZERS.get(str(variant.tokenizer))
    return None if name is None else ("", name)


@cache
def _printed_names() -> dict[str, tuple[str, str]]:
    """method -> (group, title) as the AAAI edition prints them, in the order of its Table 3."""
    numbers = load_edition("aaai2025").numbers
    types = {number.key.method: number.type for number in numbers if number.table == 1}
    third = [number for number in numbers if number.table == 3]
    return {
        n.key.method: (types.get(n.key.method, ""), n.model.removesuffix(" (Ours)")) for n in third
    }


def paper_order(methods: Iterable[str]) -> list[str]:
    """Methods in the order of the paper's tables; others follow by name, GMS stays last."""
    paper = [method for method in _printed_names() if method != REFERENCE]
    names = sorted(set(methods) - {REFERENCE})
    ordered = sorted(names, key=lambda m: (m not in paper, paper.index(m) if m in paper else 0))
    return [*ordered, *([REFERENCE] if REFERENCE in methods else [])]
