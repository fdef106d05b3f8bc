"""Which stored cells make which rows: from a matrix's table block to rows and columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.experiments.cells import CellRecord
from bench.experiments.matrices import Matrix, TableBlock, merged_order
from bench.metrics.aggregate import Metric
from bench.reporting.published import load_edition
from bench.reporting.tables.ablation import ablation_rows
from bench.reporting.tables.rows import Missing, Row
from bench.reporting.tables.table import Column
from bench.reporting.variants import Variant, variant_of

METRICS: dict[str, tuple[Metric, ...]] = {
    "methods": ("dsc", "iou", "hd95"),
    "cross-domain": ("dsc", "hd95"),
    "ablation": ("dsc", "iou", "hd95"),
    "parameters": (),
}


@dataclass(frozen=True)
class Layout:
    """A table's rows and columns, not filled. left_out: lines for the footer about cells not shown."""

    block: TableBlock
    columns: tuple[Column, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()


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
    left_out: tuple[str, ...] = ()
    if block.kind == "ablation":
        rows = ablation_rows(block, cells, missing)
    else:
        rows, left_out = _method_rows(block, cells, missing)
    return Layout(block, columns, METRICS[block.kind], tuple(rows), left_out)


def _touches(record: CellRecord, columns: Sequence[Column]) -> bool:
    """Whether a cell fills, or by failing empties, one of the columns."""
    mine = [column for column in columns if column.train == record.key.train]
    if record.status == "failed":
        return bool(mine)
    return any(record.has_scores(column.test, column.subset) for column in mine)


def _columns(block: TableBlock, external_subset: str) -> tuple[Column, ...]:
    if block.kind == "cross-domain":
        return tuple(Column(train, test, external_subset) for train, test in block.pairs)
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
    """Least for the method at its defaults: foreign tokenizer role, number of changed settings."""
    return not variant.own_role, len(variant.settings)


def _method_rows(
    block: TableBlock, cells: Sequence[CellRecord], missing: Sequence[Missing]
) -> tuple[list[Row], tuple[str, ...]]:
    main, left_out = main_variants(cells)
    titles = {r.key.method: (r.family, r.title) for r in cells}
    asked = dict.fromkeys(item.method for item in missing if item.method not in main)
    rows = []
    for method in row_order(block, [*main, *asked]):
        group, title = titles.get(method) or _printed_name(block.edition, method)
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


def _printed_name(edition: str | None, method: str) -> tuple[str, str]:
    """(group, title) of a method without a record."""
    return load_edition(edition).printed_name(method) if edition else ("", method)


def row_order(block: TableBlock | Matrix, methods: Iterable[str]) -> list[str]:
    """Methods in the order of the matrix file, then of its edition's tables, then by name.

    The reference stands last.
    """
    printed = load_edition(block.edition).orders if block.edition else ()
    listed = merged_order([block.order, *printed])
    names = set(methods)
    others = sorted(names - {block.reference})
    ordered = sorted(others, key=lambda m: listed.index(m) if m in listed else len(listed))
    return [*ordered, *(sorted(names - set(others)))]
