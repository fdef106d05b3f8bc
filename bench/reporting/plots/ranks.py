"""Figures of ranks: bootstrap ranks per test set (blobs) and mean ranks over datasets."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from bench.reporting.plots.style import COLOURS, new_figure
from bench.reporting.statistics.sheets import NAMES
from bench.reporting.statistics.tables import (
    ColumnStatistics,
    DatasetsStatistics,
    MetricStatistics,
)

BLOB, MIDDLE = COLOURS[5], COLOURS[0]
DIAMONDS = (("rank, not told from the best", MIDDLE), ("rank, told from the best", "white"))


def blob_figure(
    columns: Sequence[ColumnStatistics], metric: str, title: str, remark: str
) -> Figure:
    """How often a bootstrap gives each method each rank: a panel per test set, best method on top.

    A blob's area is the share of resamples (Wiesenfarth et al. 2021); bar: 95 % interval of the
    rank; diamond: the rank of the mean over all cases, filled where the method cannot be told from
    the best.
    """
    shown = [
        (c, c.metrics[metric]) for c in columns if metric in c.metrics and c.metrics[metric].ranking
    ]
    labels = [one.sample.complete for _, one in shown]
    longest = max(len(label) for own in labels for label in own)
    rows = max(map(len, labels))
    cell = 0.2  # a blob of all resamples is 0.18 inches wide
    words = max(len(f"rank by mean {NAMES[metric]}"), *(len(column.title) for column, _ in shown))
    panel = 0.5 + 0.062 * longest + max(cell * rows, 0.075 * words)
    figure = new_figure(panel * len(shown), 1.15 + cell * rows, title, remark)
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (column, one) in zip(grid, shown, strict=True):
        _blobs(axes, one)
        axes.set_title(column.title)
        axes.set_xlabel(f"rank by mean {NAMES[metric]}")
    _blob_legend(figure)
    return figure


def _blob_legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=BLOB, marker="o", linestyle="", label="share of resamples (area)"),
        Line2D([], [], color=MIDDLE, linewidth=1.0, label="95 % interval"),
        *(_diamond(words, face) for words, face in DIAMONDS),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _diamond(words: str, face: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="D", markersize=3.2, color=MIDDLE, markerfacecolor=face,
        label=words,
    )  # fmt: skip


def _blobs(axes: Axes, one: MetricStatistics) -> None:
    found, labels = one.ranking, one.sample.complete
    assert found
    order = np.argsort(found.ranks, kind="stable")
    for place, row in enumerate(order):
        shares = found.shares[:, row]
        ranks = np.flatnonzero(shares > 0.002) + 1
        axes.scatter(
            ranks, [place] * len(ranks), s=130 * shares[ranks - 1], color=BLOB, linewidths=0
        )
        axes.plot([found.low[row], found.high[row]], [place, place], color=MIDDLE, linewidth=1.0)
        face = MIDDLE if found.best[row] else "white"
        axes.plot(found.ranks[row], place, "D", markersize=3.2, color=MIDDLE, markerfacecolor=face)
    axes.set_yticks(range(len(labels)), [labels[row] for row in order])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0.4, len(labels) + 0.6)
    axes.xaxis.set_major_locator(MultipleLocator(1 if len(labels) <= 10 else 2, offset=1))


def critical_difference_figure(one: DatasetsStatistics, title: str, remark: str) -> Figure:
    """Mean ranks on a line, 1 (best) at the left; a bar joins methods within Nemenyi's difference.

    The critical difference is drawn to scale above the line, with N.
    """
    result, count = one.result, len(one.labels)
    order = np.argsort(result.ranks, kind="stable")
    bars = result.bars
    step = 0.3
    depth = step * ((count + 1) // 2) + 0.16 * len(bars)
    figure = new_figure(5.6, 1.0 + 0.62 * depth, title, remark)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.plot([1, count], [0, 0], color="black", linewidth=1)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.08], color="black", linewidth=1)
        axes.text(rank, 0.13, str(rank), ha="center", va="bottom", fontsize=7.5)
    _scale(axes, result.difference, result.datasets, count)
    for line, (start, end) in enumerate(bars):
        ends = result.ranks[order[[start, end]]] + (-0.04, 0.04)
        axes.plot(
            ends, [-0.14 - 0.16 * line] * 2, color=COLOURS[1], linewidth=3, solid_capstyle="butt"
        )
    top = 0.2 + 0.16 * len(bars)
    half = (count + 1) // 2
    for place, row in enumerate(order):
        left = place < half
        height = -top - step * (place if left else count - 1 - place)
        edge = 0.6 if left else count + 0.4
        rank = result.ranks[row]
        axes.plot([rank, rank, edge], [0, height, height], color="#555555", linewidth=0.8)
        words = f"{one.labels[row]}  {rank:.2f}" if left else f"{rank:.2f}  {one.labels[row]}"
        axes.text(
            edge, height, f" {words} ", ha="right" if left else "left", va="center", fontsize=7.5
        )
    room = 0.16 * count
    axes.set_xlim(0.6 - room * 1.6, count + 0.4 + room * 1.6)
    axes.set_ylim(-top - step * half, 0.95)
    return figure


def _scale(axes: Axes, difference: float, datasets: int, count: int) -> None:
    """The critical difference as a bar; cut with a word where it is longer than the axis."""
    shown = min(difference, count - 1)
    axes.plot([1, 1 + shown], [0.55, 0.55], color="black", linewidth=1.5)
    for end in (1, 1 + shown):
        axes.plot([end, end], [0.49, 0.61], color="black", linewidth=1.5)
    words = f"CD = {difference:.2f} ranks, N = {datasets} datasets"
    if shown < difference:
        words += " (longer than the axis: no two can be told apart)"
    axes.text(1, 0.68, words, ha="left", va="bottom", fontsize=7.5)
