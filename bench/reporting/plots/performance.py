"""Figures of scores: spread per case, against parameters, and the drop on another hospital."""

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.reporting.plots.series import FigureData, Spread
from bench.reporting.plots.style import group_colours, new_figure, series_style
from bench.reporting.tables.parameters import counts_of
from bench.reporting.tables.table import Column

ROW_INCHES = 0.26


def spread_figure(data: FigureData, title: str, remark: str) -> Figure:
    """Box of per-case DSC for each row (y) in a panel per test set; diamond = mean.

    Boxes: quartiles with the median; whiskers to 5 % and 95 % of cases; dots beyond.
    """
    rows, columns = data.layout.rows, data.columns
    labels = [data.label(row) for row in rows]
    colours = group_colours([row.group for row in rows])
    figure = new_figure(
        _label_inches(labels) + 1.75 * len(columns),
        0.85 + ROW_INCHES * len(rows),
        title,
        remark,
    )
    grid = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(grid, columns, strict=True):
        spreads = [data.spread(row, column) for row in rows]
        _boxes(axes, spreads, [colours[row.group] for row in rows])
        axes.set_title(data.title(column))
        axes.set_xlabel(f"DSC (%){on_grid(data)}")
    _name_rows(grid[0], labels)
    if any(colours):
        _family_legend(figure, colours)
    return figure


def on_grid(data: FigureData) -> str:
    """What an axis adds to its unit; nothing on the network grid."""
    return ", native grid" if data.grid == "native" else ""


def _label_inches(labels: Sequence[str]) -> float:
    return 0.5 + 0.065 * max(map(len, labels))


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def _boxes(axes: Axes, spreads: Sequence[Spread], colours: Sequence[str]) -> None:
    for place, (spread, colour) in enumerate(zip(spreads, colours, strict=True)):
        if not len(spread.cases):
            axes.text(2, place, spread.reason, va="center", fontsize=6.5, color="#777777")
            continue
        axes.boxplot(
            [spread.cases],
            positions=[place],
            orientation="horizontal",
            widths=0.62,
            whis=(5, 95),
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.45, "edgecolor": colour},
            medianprops={"color": colour, "linewidth": 1.4},
            whiskerprops={"color": colour},
            capprops={"color": colour},
            flierprops={"marker": ".", "markersize": 2, "markeredgecolor": colour},
            manage_ticks=False,
        )
        axes.plot(spread.mean, place, "D", color="black", markersize=3.2, zorder=5)
    axes.set_xlim(-2, 102)
    axes.grid(axis="y", visible=False)


def _family_legend(figure: Figure, colours: dict[str, str]) -> None:
    handles: list[Patch | Line2D] = [
        Patch(facecolor=colour, alpha=0.45, edgecolor=colour, label=group)
        for group, colour in colours.items()
        if group
    ]
    mean = Line2D([], [], marker="D", linestyle="", color="black", markersize=3.2, label="mean")
    figure.legend(handles=[*handles, mean], loc="outside lower center", ncols=len(handles) + 1)


def parameters_figure(data: FigureData, title: str, remark: str) -> Figure:
    """Mean DSC against trainable parameters (log), a panel per test set, a marker per method."""
    columns = data.columns
    rows = [row for row in data.layout.rows if counts_of(row, data.records)[0]]
    wide = min(len(columns), 3)
    high = -(-len(columns) // wide)
    figure = new_figure(2.4 * wide + 0.5, 2.0 * high + 0.8, title, remark)
    grid = figure.subplots(high, wide, squeeze=False, sharex=True).ravel()
    for axes, column in zip(grid, columns, strict=False):
        for index, row in enumerate(rows):
            spread, (count, _) = data.spread(row, column), counts_of(row, data.records)
            if count and len(spread.cases):
                colour, marker = series_style(index)
                axes.plot(count / 1e6, spread.mean, marker, color=colour, markersize=6)
        _parameter_axes(axes, data.title(column))
        axes.set_xlim(*_decades([counts_of(row, data.records)[0] or 1 for row in rows]))
    for axes in grid[::wide]:
        axes.set_ylabel(f"mean DSC (%){on_grid(data)}")
    for axes in grid[max(0, len(columns) - wide) : len(columns)]:
        axes.set_xlabel("trainable parameters (M)")
    for axes in grid[len(columns) :]:
        axes.set_visible(False)
    series_legend(figure, [data.label(row) for row in rows])
    return figure


def _parameter_axes(axes: Axes, title: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title)
    axes.tick_params(labelbottom=True)
    axes.margins(y=0.15)


def _decades(counts: Sequence[int]) -> tuple[float, float]:
    """Whole powers of ten, in millions, around counts: so that at least two get a tick."""
    low = math.floor(math.log10(min(counts) / 1e6))
    high = max(math.ceil(math.log10(max(counts) / 1e6)), low + 1)
    return 10**low, 10**high


def series_legend(figure: Figure, labels: Sequence[str], line: Literal["", "-"] = "") -> None:
    """A legend below that names the series in order; line: "-" for curves."""
    handles = []
    for index, label in enumerate(labels):
        colour, marker = series_style(index)
        handles.append(
            Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=5, label=label)
        )
    width = figure.get_figwidth()
    longest = 0.45 + 0.065 * max(map(len, labels))  # inches
    columns = max(1, min(len(handles), int(width / longest)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def drop_figure(data: FigureData, title: str, remark: str) -> Figure:
    """For each method two dots: mean DSC on its own dataset's test subset, and on the other's.

    Both come from the same trained weights, so the distance is the loss by moving.
    """
    columns, rows = data.columns, data.layout.rows
    labels = [data.label(row) for row in rows]
    figure = new_figure(
        _label_inches(labels) + 3.0 * len(columns),
        0.9 + ROW_INCHES * len(rows),
        title,
        remark,
    )
    grid = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(grid, columns, strict=True):
        for place, row in enumerate(rows):
            own = data.spread(row, Column(column.train, column.train))
            _dumbbell(axes, place, own, data.spread(row, column))
        axes.set_title(data.title(column))
        axes.set_xlabel(f"mean DSC (%){on_grid(data)}")
        axes.set_xlim(-2, 116)  # room for the written drop
        axes.set_xticks(range(0, 101, 20))
        axes.grid(axis="y", visible=False)
    _name_rows(grid[0], labels)
    _drop_legend(figure)
    return figure


def _dumbbell(axes: Axes, place: int, own: Spread, other: Spread) -> None:
    if len(own.cases) and len(other.cases):
        axes.plot([own.mean, other.mean], [place, place], color="#999999", linewidth=1.2, zorder=1)
        gap = f"{other.mean - own.mean:+.1f}".replace("-", "−")
        axes.text(115, place, gap, va="center", ha="right", fontsize=6.5)
    for spread, index in ((own, 0), (other, 1)):
        colour, marker = series_style(index)
        if len(spread.cases):
            axes.plot(spread.mean, place, marker, color=colour, markersize=5, zorder=2)
        else:
            axes.text(2, place, spread.reason, va="center", fontsize=6.5, color="#777777")


def _drop_legend(figure: Figure) -> None:
    handles = []
    for index, label in enumerate(("own test subset (in-domain)", "the other dataset (cross)")):
        colour, marker = series_style(index)
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
