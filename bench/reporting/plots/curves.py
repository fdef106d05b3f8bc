"""Training curves: loss and DSC by epoch."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from bench.experiments.cells import CellRecord
from bench.reporting.plots.performance import series_legend
from bench.reporting.plots.style import new_figure, series_style
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
    figure = new_figure(2.4 * len(trains) + 0.5, 4.5, title, remark)
    grid = figure.subplots(2, len(trains), squeeze=False, sharex="col")
    names = [labels[v] for v in sorted(labels, key=lambda v: order.index(v.method))]
    for place, train in enumerate(trains):
        own = [record for record in records if record.key.train == train]
        for record in own:
            colour, marker = series_style(names.index(labels[variant_of(record)]))
            _draw(grid[0, place], grid[1, place], record.history(), colour, marker)
        grid[0, place].set_title(titles.get(train, train))
        _label(grid[0, place], grid[1, place], place == 0, _measured(own))
    series_legend(figure, names, "-")
    return figure


def series_labels(records: Sequence[CellRecord]) -> dict[Variant, str]:
    """A name for each variant: the method's title, and what differs where it has several."""
    variants = dict.fromkeys(map(variant_of, records))
    names = {record.key.method: record.title for record in records}
    labels = {}
    for variant in variants:
        others = [other for other in variants if other.method == variant.method]
        words = [f"{key}={value}" for key, value in variant.settings.items()]
        if len({other.tokenizer for other in others}) > 1:
            words.append(str(variant.tokenizer))
        plain = names[variant.method]
        labels[variant] = (
            plain if len(others) == 1 or not words else f"{plain} ({', '.join(words)})"
        )
    return labels


def _measured(records: Sequence[CellRecord]) -> str:
    """Which DSC the histories hold."""
    return "validation" if any(_has_validation(r.history()) for r in records) else "test"


def _has_validation(history: pd.DataFrame) -> bool:
    return bool(history["val_dsc"].notna().any())


def _draw(above: Axes, below: Axes, history: pd.DataFrame, colour: str, marker: str) -> None:
    alone = marker if len(history) == 1 else ""  # a line through one point is invisible
    above.plot(
        history["epoch"], history["loss"], color=colour, linewidth=1.1, marker=alone, markersize=3
    )
    column = "val_dsc" if _has_validation(history) else "test_dsc"
    measured = history.dropna(subset=[column])
    below.plot(
        measured["epoch"],
        100 * measured[column],
        color=colour,
        linewidth=1.1,
        marker=marker if len(measured) <= 30 else "",
        markersize=3,
    )


def _label(above: Axes, below: Axes, first: bool, measured: str) -> None:
    above.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    above.yaxis.set_major_formatter(plain)
    above.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    above.yaxis.set_minor_formatter(plain)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    below.set_ylim(-2, 102)
    if first:
        above.set_ylabel("training loss (log)")
        below.set_ylabel(f"{measured} DSC (%)")
