"""Optimism: what choosing the epoch on the test cases would have gained, cell by cell."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.experiments.cells import CellRecord
from bench.reporting.plots.curves import series_labels
from bench.reporting.plots.performance import series_legend
from bench.reporting.plots.style import new_figure, series_style

Point = tuple[str, float, float]
"""(name of the series, test DSC of the epoch that validation picks, best test DSC), per cent."""


def optimism_figure(
    records: Sequence[CellRecord], titles: Mapping[str, str], remark: str, order: Sequence[str]
) -> Figure:
    """Best test DSC of any epoch (y) against that of the epoch that validation picks (x), a dot per
    cell, a panel per training dataset; the distance above the diagonal is the optimism.

    records: cells whose histories hold both scores. order: methods, in the legend's order.
    """
    labels = series_labels(records)
    methods = {labels[record.id]: record.key.method for record in records}
    names = sorted(methods, key=lambda name: (order.index(methods[name]), name))
    trains = list(dict.fromkeys(record.key.train for record in records))
    wide = min(len(trains), 3)
    high = -(-len(trains) // wide)
    if all(record.key.selection == "best-val" for record in records):
        remark += " Nothing was chosen on these test scores."
    title = "Optimism: the epoch chosen on test cases against the one that validation picks"
    figure = new_figure(2.6 * wide + 0.4, 2.5 * high + 0.6, title, f"{remark} Network grid.")
    grid = figure.subplots(high, wide, squeeze=False).ravel()
    for axes, train in zip(grid, trains, strict=False):
        own = [record for record in records if record.key.train == train]
        _dots(axes, [_point(record, labels[record.id]) for record in own], names)
        axes.set_title(titles.get(train, train))
        axes.set_xlabel("test DSC of validation's epoch (%)")
        axes.set_ylabel("best test DSC of any epoch (%)")
    for axes in grid[len(trains) :]:
        axes.set_visible(False)
    series_legend(figure, names)
    return figure


def _point(record: CellRecord, label: str) -> Point:
    both = record.history().dropna(subset=["val_dsc", "test_dsc"])
    picked = both.loc[both["val_dsc"].idxmax()]  # the earlier epoch wins a tie
    return label, 100 * float(picked["test_dsc"]), 100 * float(both["test_dsc"].max())


def _dots(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    low = min(x for _, x, _ in points)
    high = max(y for _, _, y in points)
    room = max(0.08 * (high - low), 0.5)
    ends = (low - room, high + room)
    axes.plot(ends, ends, color="#999999", linewidth=0.9, zorder=1)
    for name, x, y in points:
        colour, marker = series_style(names.index(name))
        axes.plot(x, y, marker, color=colour, markersize=5, zorder=2)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
