"""The parameter table: what trains, what is there at inference, and what the paper prints."""

from collections.abc import Callable, Mapping, Sequence

from bench.experiments.cells import CellRecord
from bench.reporting.published import Edition
from bench.reporting.tables.entries import NOTHING
from bench.reporting.tables.rows import Row
from bench.reporting.tables.table import Entry, Footnotes


def millions(count: int) -> str:
    """A parameter count in millions, as short as two decimals allow: "14.75", "0.05"."""
    return f"{count / 1e6:.2f}"


def counts_of(row: Row, records: Sequence[CellRecord]) -> tuple[int | None, int | None]:
    """(trainable, total) parameters of a row's finished cells; None where none finished."""
    for record in records:
        if row.takes(record) and record.trainable_params is not None:
            return record.trainable_params, record.total_params
    return None, None


def parameter_headers(edition: Edition | None) -> tuple[str, ...]:
    """Headers over `parameter_entries`."""
    own = ("Trainable", "Trainable (M)", "Total (M)")
    return own if edition is None else (*own, "Printed (M)", "Difference (M)")


def parameter_entries(
    row: Row, records: Sequence[CellRecord], edition: Edition | None, footnotes: Footnotes
) -> tuple[Entry, ...]:
    """Exact and rounded counts of a row, and the printed one beside them."""
    trainable, total = counts_of(row, records)
    entries = [
        _count("trainable", trainable, lambda n: f"{n:,}", footnotes),
        _count("trainable_m", trainable, millions, footnotes),
        _count("total_m", total, millions, footnotes),
    ]
    if edition is not None:
        number = edition.find(row.method, "params_m") if row.printed is not None else None
        gap = None if number is None or trainable is None else trainable / 1e6 - number.value
        value, text = (number.value, number.printed) if number else (None, None)
        entries.append(_text("printed_m", value, text))
        entries.append(_text("difference_m", gap, None if gap is None else f"{gap:+.2f}"))
    return tuple(entries)


def _count(
    metric: str, count: int | None, words: Callable[[int], str], footnotes: Footnotes
) -> Entry:
    if count is None:
        reason = "no finished cell to count"
        return Entry(NOTHING, metric, reason=reason, footnotes=(footnotes.number(reason),))
    return Entry(words(count), metric, value=float(count))


def _text(metric: str, value: float | None, text: str | None) -> Entry:
    if text is None:
        return Entry(NOTHING, metric, reason="not printed")
    return Entry(text.replace("-", "−"), metric, value=value)


def fewer_than(reference: int | None, count: int | None) -> bool:
    """Whether a row earns the dagger; never without a reference to compare with."""
    return reference is not None and count is not None and count < reference


def explanation_footnotes(
    row: Row, explanations: Mapping[str, str], footnotes: Footnotes
) -> tuple[int, ...]:
    """The footnote that says why a method's exact count differs from the printed one."""
    text = explanations.get(row.method)
    return (footnotes.number(text),) if text else ()
