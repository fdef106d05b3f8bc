"""Figures of differences to a reference: intervals per method (forest) and per case."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.reporting.plots.style import COLOURS, new_figure, wrapped
from bench.reporting.statistics.comparison import Comparison, Estimate
from bench.reporting.statistics.samples import Sample
from bench.reporting.statistics.sheets import NAMES, signed
from bench.reporting.statistics.tables import ColumnStatistics, MetricStatistics
from bench.reporting.tables.table import UNITS

ROW_INCHES = 0.2
BETTER, WORSE, UNDECIDED = COLOURS[0], COLOURS[1], "#888888"
KINDS = (
    (BETTER, "o", "better"),
    (WORSE, "s", "worse"),
    (UNDECIDED, "D", "not told apart"),
)
"""Colour, marker, words: a row's verdict by the corrected p."""


def forest_figure(columns: Sequence[ColumnStatistics], title: str, remark: str) -> Figure:
    """Difference to the reference with its 95 % interval: a row per method, a panel per test set.

    A line of panels per metric. Better is always on the right; distances show the median
    difference. The verdict needs Holm's corrected p and the interval. An interval that is far longer than the
    others' ends in an arrow at the panel's edge.
    """
    metrics = list(dict.fromkeys(name for column in columns for name in column.metrics))
    labels = _labels(columns, metrics)
    figure = new_figure(
        0.6 + 0.065 * max(map(len, labels)) + 2.1 * len(columns),
        (0.6 + ROW_INCHES * len(labels)) * len(metrics) + 0.4,
        title,
        remark,
    )
    grid = figure.subplots(len(metrics), len(columns), squeeze=False, sharey=True)
    for line, metric in zip(grid, metrics, strict=True):
        for axes, column in zip(line, columns, strict=True):
            _forest(axes, column.metrics.get(metric), labels)
            axes.set_xlabel(_unit(metric))
            if metric == metrics[0]:
                axes.set_title(column.title)
        line[0].set_yticks(range(len(labels)), labels)
        line[0].set_ylim(len(labels) - 0.4, -0.6)
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4, label=words)
        for colour, marker, words in KINDS
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _labels(columns: Sequence[ColumnStatistics], metrics: Sequence[str]) -> list[str]:
    found = [
        column.metrics[name] for column in columns for name in metrics if name in column.metrics
    ]
    return list(dict.fromkeys(label for one in found for label in one.comparisons))


def _unit(metric: str) -> str:
    if UNITS[metric] == "%":
        return f"{NAMES[metric]}, mean difference (points)"
    return f"{NAMES[metric]}, median difference (px)"


def _forest(axes: Axes, one: MetricStatistics | None, labels: Sequence[str]) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="y", visible=False)
    if one is None:
        return
    left, right = _limits([_shown(found) for found in one.comparisons.values() if found])
    axes.set_xlim(*((right, left) if one.sample.is_distance else (left, right)))
    for place, label in enumerate(labels):
        found = one.comparisons.get(label)
        if found is None:
            words = "no common seed" if label in one.comparisons else "not scored"
            axes.text(0.02, place, words, transform=axes.get_yaxis_transform(), va="center",
                      fontsize=6.5, color="#777777")  # fmt: skip
            continue
        _whisker(axes, place, _shown(found), verdict(found, one.sample), (left, right))


def _shown(one: Comparison) -> Estimate:
    return one.median if one.is_distance else one.mean


def verdict(one: Comparison, sample: Sample) -> tuple[str, str]:
    """(colour, marker) of a row: whether it is told apart, and the sign of what was tested."""
    if not one.told_apart:
        return KINDS[2][:2]
    gain = one.better.value - 0.5 if one.is_distance else sample.sign * one.mean.value
    return KINDS[0][:2] if gain > 0 else KINDS[1][:2]


def _limits(shown: Sequence[Estimate]) -> tuple[float, float]:
    """Room for zero and for all intervals but those that are far out (beyond 4 times the middle)."""
    ends = np.array([[one.low, one.high] for one in shown])
    reach = np.abs(ends).max(axis=1)
    limit = max(4 * float(np.median(reach)), 1e-3)
    kept = ends[reach <= limit]
    low, high = min(0.0, kept.min()), max(0.0, kept.max())
    margin = max(0.08 * (high - low), 1e-3)
    left = (
        low - margin - 2 * margin * bool((ends < -limit).any())
    )  # room for an arrow and its number
    right = high + margin + 2 * margin * bool((ends > limit).any())
    return left, right


def _whisker(
    axes: Axes, place: int, one: Estimate, look: tuple[str, str], limits: tuple[float, float]
) -> None:
    colour, marker = look
    left, right = limits
    axes.plot(
        [max(one.low, left), min(one.high, right)], [place, place], color=colour, linewidth=1.4
    )
    if left <= one.value <= right:
        axes.plot(one.value, place, marker, color=colour, markersize=4)
        return
    edge, away = (left, 1) if one.value < left else (right, -1)
    tip = edge + away * 0.02 * (right - left)
    inverted = axes.xaxis_inverted()
    points_left = (edge == left) != inverted
    axes.plot(tip, place, "<" if points_left else ">", color=colour, markersize=4)
    axes.text(edge + away * 0.07 * (right - left), place, signed(one.value, 1), fontsize=6.5,
              va="center", ha="left" if points_left else "right")  # fmt: skip


# ---- per case


def cases_figure(column: ColumnStatistics, metric: str, title: str, remark: str) -> Figure | None:
    """Bland-Altman against the reference: a panel per method, a point per case.

    x: mean of the two scores; y: method minus reference; both averaged over seeds. Lines: zero,
    mean difference, and mean +- 1.96 SD of the differences (limits of agreement, Bland and Altman
    1986, Lancet 327). None without a reference.
    """
    one = column.metrics.get(metric)
    if one is None or column.reference is None:
        return None
    shown = [(label, found) for label, found in one.comparisons.items() if found]
    if not shown:
        return None
    wide = min(4 if len(shown) <= 12 else 5, len(shown))
    high = math.ceil(len(shown) / wide)
    figure = new_figure(1.75 * wide + 0.4, 1.8 * high + 0.4, title, remark)
    grid = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (label, found) in zip(grid, shown, strict=False):
        _bland_altman(axes, one.sample, label, column.reference, found)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    unit = UNITS[metric]
    for axes in grid[len(shown) - wide : len(shown)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(f"mean of both ({unit})", fontsize=7.5)
    difference = "points" if unit == "%" else unit
    words = f"method minus\n{wrapped(column.reference, 24)}\n({difference})"
    for axes in grid[: len(shown) : wide]:
        axes.set_ylabel(words, fontsize=7)
    _cases_legend(figure, wide)
    return figure


def _cases_legend(figure: Figure, wide: int) -> None:
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", markersize=3, label=words)
        for colour, words in ((BETTER, "case where the method is better"), (WORSE, "worse"))
    ]
    handles += [
        Line2D([], [], color="black", linewidth=1.1, linestyle="--", label="mean difference"),
        Line2D([], [], color="#777777", linewidth=0.8, linestyle=":", label="mean ± 1.96 SD"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if wide < 4 else 4)


def _bland_altman(
    axes: Axes, sample: Sample, label: str, reference: str, found: Comparison
) -> None:
    own = sample.rows[label].at(found.seeds).mean(axis=0)
    base = sample.rows[reference].at(found.seeds).mean(axis=0)
    gap = own - base
    size = float(np.clip(400 / len(gap), 1.5, 9))
    colour = np.where(sample.sign * gap > 0, BETTER, WORSE)
    axes.scatter((own + base) / 2, gap, s=size, c=colour, alpha=0.55, linewidths=0, rasterized=True)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(gap.mean(), color="black", linewidth=1.1, linestyle="--")
    for side in (-1.96, 1.96):
        axes.axhline(
            gap.mean() + side * gap.std(ddof=1), color="#777777", linewidth=0.8, linestyle=":"
        )
    axes.set_title(
        f"{wrapped(label, 26)}\nbetter in {100 * found.better.value:.0f} %", fontsize=7.5
    )
