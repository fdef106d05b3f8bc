"""Training curves: loss and DSC by epoch."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from bench.experiments.cells import CellRecord
from bench.reporting.plots.performance import series_legend
from bench.reporting.plots.style import new_figure, series_style
from bench.reporting.repetitions import facets, telling, words_of
from bench.reporting.variants import Variant, variant_of

NEAR = 0.012  # of an axis' height: less than the width of a line
APART = 1.7  # points between curves that would hide each other
MARKS = 6  # on a curve of many epochs


def curves_figure(
    records: Sequence[CellRecord],
    titles: Mapping[str, str],
    title: str,
    remark: str,
    order: Sequence[str],
) -> Figure:
    """Loss (log) above, DSC below, a column per training dataset, a line per cell.

    Seeds share a colour. The DSC is that on validation cases, or on test cases where the protocol
    holds none out; the axis says which. order: every method, in the legend's order. Curves that
    would hide each other are drawn side by side.
    """
    labels = series_labels(records)
    trains = list(dict.fromkeys(record.key.train for record in records))
    histories = {record.id: record.history() for record in records}
    scored = any(_column(history) for history in histories.values())
    if len(records) > 1:
        remark = f"{remark} Curves that coincide are drawn side by side.".lstrip()
    figure = new_figure(2.4 * len(trains) + 0.5, 4.5 if scored else 2.5, title, remark)
    grid = figure.subplots(1 + scored, len(trains), squeeze=False, sharex="col")
    methods = {labels[record.id]: record.key.method for record in records}
    names = sorted(methods, key=lambda name: (order.index(methods[name]), name))
    for place, train in enumerate(trains):
        own = [record for record in records if record.key.train == train]
        looks = [names.index(labels[record.id]) for record in own]
        drawn = [histories[record.id] for record in own]
        below = grid[1, place] if scored else None
        _draw_losses(grid[0, place], drawn, looks)
        if below is not None:
            _draw_scores(below, drawn, looks)
        grid[0, place].set_title(titles.get(train, train))
        _label(grid[0, place], below, place == 0, _measured(drawn))
        for axes in (grid[0, place], below):
            if axes is not None:
                _spread(axes)
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


def _draw_losses(axes: Axes, histories: Sequence[pd.DataFrame], looks: Sequence[int]) -> None:
    for history, look in zip(histories, looks, strict=True):
        _draw(axes, history["epoch"], history["loss"], look)


def _draw_scores(axes: Axes, histories: Sequence[pd.DataFrame], looks: Sequence[int]) -> None:
    for history, look in zip(histories, looks, strict=True):
        if column := _column(history):
            measured = history.dropna(subset=[column])
            _draw(axes, measured["epoch"], 100 * measured[column], look)


def _draw(axes: Axes, epochs: pd.Series, values: pd.Series, look: int) -> None:
    """A curve with a marker at each of a few epochs, else at some that differ from its
    neighbours'."""
    colour, marker = series_style(look)
    every = max(1, round(len(epochs) / MARKS))
    start = (look * max(1, every // 4)) % every
    axes.plot(
        epochs, values, color=colour, linewidth=1.1, marker=marker, markersize=3,
        markevery=(start, every),
    )  # fmt: skip


def _spread(axes: Axes) -> None:
    """Move curves that lie on others up by a little more than a line's width."""
    lines = axes.get_lines()
    low, high = axes.transScale.transform([(1, value) for value in axes.get_ylim()])[:, 1]
    heights = [_heights(axes, line, low, high) for line in lines]
    shifts: list[int] = []
    for place, curve in enumerate(heights):
        taken = {shifts[at] for at in range(place) if _coincide(heights[at], curve)}
        shifts.append(min(set(range(place + 1)) - taken))
    for line, shift in zip(lines, shifts, strict=True):
        if shift:
            figure = axes.get_figure(root=True)
            assert figure is not None
            up = ScaledTranslation(0, shift * APART / 72, figure.dpi_scale_trans)
            line.set_transform(axes.transData + up)


def _heights(axes: Axes, line: Line2D, low: float, high: float) -> pd.Series:
    """Epoch -> height in the axes, as a share of theirs."""
    epochs, values = (np.asarray(part, dtype=float) for part in line.get_data())
    scaled = axes.transScale.transform(np.column_stack([np.ones_like(values), values]))[:, 1]
    return pd.Series((scaled - low) / (high - low), index=epochs)


def _coincide(one: pd.Series, other: pd.Series) -> bool:
    """Whether two curves lie on each other at half of their common epochs or more."""
    gaps = (one - other).dropna().abs()
    return len(gaps) > 0 and float((gaps < NEAR).mean()) >= 0.5


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
