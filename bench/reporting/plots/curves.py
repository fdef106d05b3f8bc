"""Training curves: loss and DSC by epoch."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from bench.experiments.cells import CellRecord
from bench.reporting.plots.performance import series_legend
from bench.reporting.plots.style import new_figure, series_style
from bench.reporting.repetitions import facets, telling, words_of
from bench.reporting.variants import Variant, variant_of


def curves_figure(
    records: Sequence[CellRecord],
    titles: Mapping[str, str],
    title: str,
    remark: str,
    order: Sequence[str],
) -> Figure:
    """Loss (log) above, DSC below, a column per training dataset, a line per cell.

    Seeds share a colour. The DSC is that on validation cases, or on test cases where the protocol
    holds none out; the axis says which. order: every method, in the legend's order.
    """
    labels = series_labels(records)
    trains = list(dict.fromkeys(record.key.train for record in records))
    histories = {record.id: record.history() for record in records}
    scored = any(_column(history) for history in histories.values())
    figure = new_figure(2.4 * len(trains) + 0.5, 4.5 if scored else 2.5, title, remark)
    grid = figure.subplots(1 + scored, len(trains), squeeze=False, sharex="col")
    methods = {labels[record.id]: record.key.method for record in records}
    names = sorted(methods, key=lambda name: (order.index(methods[name]), name))
    for place, train in enumerate(trains):
        own = [record for record in records if record.key.train == train]
        below = grid[1, place] if scored else None
        for record in own:
            colour, marker = series_style(names.index(labels[record.id]))
            _draw(grid[0, place], below, histories[record.id], colour, marker)
        grid[0, place].set_title(titles.get(train, train))
        measured = _measured([histories[record.id] for record in own])
        _label(grid[0, place], below, place == 0, measured)
    series_legend(figure, names, "-")
    return figure


def series_labels(records: Sequence[CellRecord]) -> dict[str, str]:
    """Cell id -> name of its series: the method's title, and what differs where it has several.

    Cells of one name are repetitions on each training dataset.
    """
    variants = {record.id: variant_of(record) for record in records}
    labels = {}
    for record in records:
        alike = [other for other in records if variants[other.id] == variants[record.id]]
        words = _variant_words(variants[record.id], set(variants.values()))
        words += _facet_words(record, alike)
        labels[record.id] = record.title + (f" ({', '.join(words)})" if words else "")
    return labels


def _variant_words(variant: Variant, every: Collection[Variant]) -> list[str]:
    others = [other for other in every if other.method == variant.method]
    words = [f"{key}={value}" for key, value in variant.settings.items()]
    if not variant.own_role or len({other.tokenizer for other in others}) > 1:
        words.append(str(variant.tokenizer))
    return words


def _facet_words(record: CellRecord, alike: Sequence[CellRecord]) -> list[str]:
    """What tells cells of one variant apart that are no repetitions of each other."""
    trains = dict.fromkeys(other.key.train for other in alike)
    names = dict.fromkeys(
        name for train in trains for name in telling(r for r in alike if r.key.train == train)
    )
    own = facets(record)
    return [words_of([(name, own.get(name))]) for name in names]


def _measured(histories: Sequence[pd.DataFrame]) -> str:
    """Which DSC the histories hold."""
    return "validation" if any(_column(one) == "val_dsc" for one in histories) else "test"


def _column(history: pd.DataFrame) -> str:
    """The column of the DSC that is drawn; "" where none was measured."""
    measured = (name for name in ("val_dsc", "test_dsc") if history[name].notna().any())
    return next(measured, "")


def _draw(above: Axes, below: Axes | None, history: pd.DataFrame, colour: str, marker: str) -> None:
    alone = marker if len(history) == 1 else ""  # a line through one point is invisible
    above.plot(
        history["epoch"], history["loss"], color=colour, linewidth=1.1, marker=alone, markersize=3
    )
    column = _column(history)
    if below is None or not column:
        return
    measured = history.dropna(subset=[column])
    below.plot(
        measured["epoch"],
        100 * measured[column],
        color=colour,
        linewidth=1.1,
        marker=marker if len(measured) <= 30 else "",
        markersize=3,
    )


def _label(above: Axes, below: Axes | None, first: bool, measured: str) -> None:
    above.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    above.yaxis.set_major_formatter(plain)
    above.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    above.yaxis.set_minor_formatter(plain)
    if first:
        above.set_ylabel("training loss (log)")
    if below is None:
        above.set_xlabel("epoch")
        return
    below.set_visible(bool(below.lines))
    above.tick_params(labelbottom=not below.lines)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    below.set_ylim(-2, 102)
    if first:
        below.set_ylabel(f"{measured} DSC (%)")
