"""The rows of an ablation table: one method, a row per value of what the matrix file varies."""

from collections.abc import Sequence
from typing import Any

from bench.experiments.cells import CellRecord
from bench.experiments.matrices import AblationRow, TableBlock
from bench.reporting.tables.rows import Missing, Row
from bench.reporting.variants import Variant, variant_of

Values = tuple[Any, ...]
"""A value for each name in the block's `varies`; of a tokenizer its name."""


def ablation_rows(
    block: TableBlock, cells: Sequence[CellRecord], missing: Sequence[Missing]
) -> list[Row]:
    """The block's own rows, then one for each other value that is stored or was asked for.

    No row when nothing of the method is stored or asked for.
    """
    own = [record for record in cells if record.key.method == block.method]
    stored = _at_main_settings(block, own)
    asked = [item for item in missing if item.method == block.method]
    if not stored and not asked:
        return []
    rows = [_listed_row(block, listed, stored) for listed in block.rows]
    free = [
        (v, variant)
        for v, variant in stored
        if not any(_is(block, r, v, variant) for r in block.rows)
    ]
    points: list[Values] = []
    for values, variant in sorted(free, key=lambda item: _place(block, *item)):
        if values not in points:
            points.append(values)
            rows.append(_free_row(block, values, variant))
    return rows + _absent_rows(block, asked, stored)


def _at_main_settings(
    block: TableBlock, records: Sequence[CellRecord]
) -> list[tuple[Values, Variant]]:
    """(values, variant) of the cells that differ least from the method in what is not varied.

    So a row never differs from its neighbours in something else, where cells without such a
    difference are stored.
    """
    found: dict[str, tuple[Values, Variant]] = {}
    for record in records:
        values, variant = _values(block, record), variant_of(record)
        if None not in values:
            found[repr((values, variant))] = (values, variant)
    least = min((_distance(block, variant) for _, variant in found.values()), default=None)
    return [item for item in found.values() if _distance(block, item[1]) == least]


def _values(block: TableBlock, record: CellRecord) -> Values:
    tokenizer = record.key.tokenizer
    return tuple(
        (tokenizer.name if tokenizer else None)
        if name == "tokenizer"
        else record.key.settings.get(name)
        for name in block.varies
    )


def _distance(block: TableBlock, variant: Variant) -> tuple[bool, int]:
    """Least for the method at its defaults: foreign tokenizer role, number of changed settings."""
    foreign = "tokenizer" not in block.varies and not variant.own_role
    return foreign, len(set(variant.settings) - set(block.varies))


def _place(block: TableBlock, values: Values, variant: Variant) -> tuple[bool, list[str], str]:
    """Discrete tokenizers first where they are varied, then by value."""
    later = "tokenizer" in block.varies and variant.role != "discrete"
    return later, list(map(str, values)), str(variant)


def _is(block: TableBlock, listed: AblationRow, values: Values, variant: Variant) -> bool:
    """Whether the values are those of a listed row."""
    return all(
        listed.tokenizer in (variant.tokenizer, variant.role)
        if name == "tokenizer"
        else listed.settings[name] == value
        for name, value in zip(block.varies, values, strict=True)
    )


def _listed_row(
    block: TableBlock, listed: AblationRow, stored: Sequence[tuple[Values, Variant]]
) -> Row:
    mine = [variant for values, variant in stored if _is(block, listed, values, variant)]
    variant = min(mine, key=str, default=None)
    values = tuple(
        listed.tokenizer if name == "tokenizer" else listed.settings[name] for name in block.varies
    )
    return Row(
        "",
        _label(block, values),
        listed.words or _words(block, values, variant),
        str(block.method),
        variant,
        listed.settings,
        listed.tokenizer,
        listed.published or None,
        note=_note(block, variant),
    )


def _free_row(block: TableBlock, values: Values, variant: Variant | None) -> Row:
    """A row for values that the matrix file does not list."""
    named = dict(zip(block.varies, values, strict=True))
    tokenizer = named.pop("tokenizer", None)
    published = block.published.get(", ".join(map(str, values)))
    words = _words(block, values, variant)
    method, note = str(block.method), _note(block, variant)
    return Row(
        "", _label(block, values), words, method, variant, named, tokenizer, published, note=note
    )


def _note(block: TableBlock, variant: Variant | None) -> str:
    """In what a row differs from the method besides what the table varies."""
    if variant is None or _distance(block, variant) == (False, 0):
        return ""
    words = [f"{k}={v}" for k, v in variant.settings.items() if k not in block.varies]
    if "tokenizer" not in block.varies and not variant.own_role:
        words.append(str(variant.tokenizer))
    return f"Not at the method's defaults elsewhere: {', '.join(words)}."


def _absent_rows(
    block: TableBlock, asked: Sequence[Missing], stored: Sequence[tuple[Values, Variant]]
) -> list[Row]:
    """Rows of values that were asked for, are not listed and have no cell."""
    points: list[Values] = []
    for item in asked:
        values = tuple(
            item.tokenizer if name == "tokenizer" else item.settings.get(name)
            for name in block.varies
        )
        wanted = AblationRow(settings=item.settings, tokenizer=item.tokenizer)
        listed = any(
            all(
                row.tokenizer == value if name == "tokenizer" else row.settings[name] == value
                for name, value in zip(block.varies, values, strict=True)
            )
            for row in block.rows
        )
        if None in values or listed or values in points:
            continue
        if not any(_is(block, wanted, v, variant) for v, variant in stored):
            points.append(values)
    return [_free_row(block, values, None) for values in points]


def _label(block: TableBlock, values: Values) -> str:
    """ "loss lm" in messages and footers; a tokenizer is named alone."""
    return ", ".join(
        str(value) if name == "tokenizer" else f"{name} {value}"
        for name, value in zip(block.varies, values, strict=True)
    )


def _words(block: TableBlock, values: Values, variant: Variant | None) -> tuple[str, ...]:
    """The values, and a tokenizer's role where a header is left for it."""
    words = list(map(str, values))
    if "tokenizer" in block.varies and variant is not None:
        words.append(str(variant.role))
    blank = [""] * len(block.headers)
    return tuple([*words, *blank][: len(block.headers)])
