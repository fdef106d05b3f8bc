"""Which stored cells make which rows: from a matrix's table block to rows and columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.experiments.cells import CellRecord
from bench.experiments.matrices import Matrix, TableBlock, merged_order
from bench.metrics.aggregate import Metric
from bench.reporting.published import load_edition
from bench.reporting.repetitions import Facet, facets, telling, words_of
from bench.reporting.tables.ablation import ablation_rows
from bench.reporting.tables.rows import Missing, Row
from bench.reporting.tables.table import Column
from bench.reporting.variants import Variant, variant_of

Shown = Metric | Literal["optimism"]

METRICS: dict[str, tuple[Shown, ...]] = {
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
    metrics: tuple[Shown, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()


def make_layout(
    block: TableBlock,
    cells: Sequence[CellRecord],
    missing: Sequence[Missing],
    external_subset: Literal["test", "all"],
    optimism: bool = False,
) -> Layout:
    """The rows and columns of a block, from what is stored and what was asked for.

    optimism: whether the columns of a dataset's own test cases show it.
    """
    columns = _columns(block, external_subset)
    trains = {column.train for column in columns}
    if block.kind != "parameters":
        cells = [record for record in cells if _touches(record, columns)]
        missing = [item for item in missing if item.train in trains]
    make = ablation_rows if block.kind == "ablation" else _method_rows
    rows = [part for row in make(block, cells, missing) for part in _repetitions(block, row, cells)]
    left_out = _left_out(block, rows, cells)
    metrics = METRICS[block.kind]
    if optimism and block.kind in ("methods", "ablation"):
        metrics = (*metrics, "optimism")
    return Layout(block, columns, metrics, tuple(rows), left_out)


def used(layout: Layout, cells: Sequence[CellRecord]) -> list[CellRecord]:
    """The cells that a layout's rows and columns show."""
    trains = {column.train for column in layout.columns}
    return [
        record
        for record in cells
        if (not trains or record.key.train in trains)
        and any(row.takes(record) for row in layout.rows)
    ]


def _repetitions(block: TableBlock, row: Row, cells: Sequence[CellRecord]) -> list[Row]:
    """The row, or one for each kind of its cells where they are no repetitions of each other.

    A row of the table of parameters is split by its counts alone.
    """
    own = [record for record in cells if row.takes(record)]
    trains = dict.fromkeys(record.key.train for record in own)
    names = dict.fromkeys(
        name for train in trains for name in telling(r for r in own if r.key.train == train)
    )
    if block.kind == "parameters":
        names = dict.fromkeys(name for name in names if name == COUNT)
    points = dict.fromkeys(_point(record, names) for record in own)
    if len(points) < 2:
        return [row]
    return [_part(block, row, point) for point in sorted(points, key=str)]


COUNT = ("built", "trainable parameters")

Point = tuple[tuple[Facet, str | None], ...]


def _point(record: CellRecord, names: Iterable[Facet]) -> Point:
    own = facets(record)
    return tuple((name, own.get(name)) for name in names)


def _part(block: TableBlock, row: Row, point: Point) -> Row:
    """One kind of a row's cells, named by what makes it one."""
    words = f" [{words_of(point)}]"
    if block.kind == "ablation":  # its leading words are those of the matrix file
        note = f"{row.note} {words_of(point)}.".lstrip()
        return replace(row, label=row.label + words, facets=point, note=note)
    lead = (*row.lead[:-1], row.lead[-1] + words)
    return replace(row, label=row.label + words, lead=lead, facets=point)


def _left_out(
    block: TableBlock, rows: Sequence[Row], cells: Sequence[CellRecord]
) -> tuple[str, ...]:
    """A line that counts the stored variants of the rows' methods that no row shows."""
    methods = dict.fromkeys(row.method for row in rows)
    shown = {row.variant for row in rows}
    found = []
    for method in methods:
        own = [record for record in cells if record.key.method == method]
        hidden = {variant_of(record) for record in own} - shown
        found += [f"{own[0].title} {len(hidden)}"] if hidden else []
    if not found:
        return ()
    return (f"Other settings or tokenizers stored and not shown: {', '.join(found)}.",)


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


def main_variants(cells: Iterable[CellRecord]) -> dict[str, list[Variant]]:
    """Method -> its variants that stand for the method itself.

    The main ones have the fewest changed settings and a tokenizer of the role that the method asks
    for, where there are such. So an ablation's cells stay out of the comparison of methods.
    """
    found: dict[str, dict[Variant, None]] = {}
    for record in cells:
        found.setdefault(record.key.method, {})[variant_of(record)] = None
    return {method: _plainest(variants) for method, variants in found.items()}


def _plainest(variants: Iterable[Variant]) -> list[Variant]:
    every = list(variants)
    least = min(map(_plainness, every))
    return sorted((one for one in every if _plainness(one) == least), key=str)


def _plainness(variant: Variant) -> tuple[bool, int]:
    """Least for the method at its defaults: foreign tokenizer role, number of changed settings."""
    return not variant.own_role, len(variant.settings)


def _method_rows(
    block: TableBlock, cells: Sequence[CellRecord], missing: Sequence[Missing]
) -> list[Row]:
    main = main_variants(cells)
    titles = {r.key.method: (r.family, r.title) for r in cells}
    asked = dict.fromkeys(item.method for item in missing if item.method not in main)
    rows = []
    for method in row_order(block, [*main, *asked]):
        group, title = titles.get(method) or _printed_name(block.edition, method)
        variants = main.get(method, [None])
        for variant in variants:
            words = _difference(variant, variants) if variant else ""
            plain = variant is None or _plainness(variant) == (False, 0)
            label = title + words
            printed: dict[str, str] | None = {} if plain else None
            rows.append(Row(group, label, (group, label), method, variant, printed=printed))
    groups = list(dict.fromkeys(row.group for row in rows))
    return sorted(rows, key=lambda row: groups.index(row.group))


def _difference(variant: Variant, others: Sequence[Variant | None]) -> str:
    """What tells a variant from the method at its defaults and from its neighbours, in brackets."""
    words = [f"{key}={value}" for key, value in variant.settings.items()]
    if not variant.own_role or len({other.tokenizer for other in others if other}) > 1:
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
