"""The look of every figure, and how it is saved: readable in grey, equal bytes for equal input."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.files import write_with

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette without its yellow, which is too pale for lines on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

TARGET_COLOUR, PRED_COLOUR = "#00E04B", "#FFE100"  # the paper's green and yellow contours

LEAST_WIDTH = 4.5  # inches; narrower ones would be all title

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.dpi": 150,
    "pdf.fonttype": 42,  # letters stay letters
    "svg.hashsalt": "gms-bench",
}


@contextmanager
def styled() -> Iterator[None]:
    """Our settings for whatever is drawn and saved inside."""
    with rc_context(_RC):
        yield


def new_figure(width: float, height: float, title: str, remark: str = "") -> Figure:
    """A figure with a title and a remark below it, above width x height inches of content."""
    width = max(width, LEAST_WIDTH)
    room = int(width * 14.5)  # characters at the title's size
    text = wrapped(title, room) + (f"\n{wrapped(remark, room)}" if remark else "")
    head = 0.15 + 0.17 * len(text.splitlines())
    figure = Figure(figsize=(width, height + head), layout="constrained")
    figure.suptitle(text, fontsize=8.5, x=0.01, ha="left", linespacing=1.4)
    return figure


def wrapped(text: str, characters: int) -> str:
    """`text` in lines of at most so many characters; only a longer word is broken."""
    return "\n".join(textwrap.wrap(text, characters))


def series_style(index: int) -> tuple[str, str]:
    """(colour, marker) of the index-th series: 49 pairs, neighbours differ in both."""
    lap, place = divmod(index, len(COLOURS))
    return COLOURS[place], MARKERS[(place + lap) % len(MARKERS)]


def group_colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each group, in order of first appearance."""
    distinct = list(dict.fromkeys(groups))
    return {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(distinct)}


def bare(axes: Axes) -> None:
    """No ticks, frame or grid: for pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.png and `name`.pdf, each whole or not at all, without dates."""
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    _settle(figure)
    for path, metadata in zip(paths, ({"Software": None}, {"CreationDate": None}), strict=True):
        form = path.suffix[1:]
        write_with(
            path,
            lambda file, form=form, metadata=metadata: figure.savefig(  # type: ignore[misc]
                file, format=form, metadata=metadata
            ),
        )
    return paths


def _settle(figure: Figure) -> None:
    """Lay the figure out once for all formats; it is half the time of saving."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
