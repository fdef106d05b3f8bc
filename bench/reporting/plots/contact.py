"""The contact sheet of an audit: pairs of equal and near-duplicate images, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.reporting.plots.style import bare, new_figure, wrapped

PAIRS_IN_A_ROW = 3
PANEL_INCHES = 1.25
GAP = 0.15
"""Width between pairs, as a share of a panel's."""

LEAK_COLOUR = "#D55E00"


@dataclass(frozen=True)
class Duplicate:
    """A pair to look at. first, second: uint8 (H, W, 3), the second one turned onto the first.
    names: words below each. words: above the pair. leaks: one is a test case, the other trains or
    validates."""

    words: str
    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    names: tuple[str, str]
    leaks: bool = False


def contact_sheet(pairs: Sequence[Duplicate], title: str, remark: str = "") -> Figure:
    """Three pairs a row; the words of a pair that leaks are coloured. Raises ValueError without
    pairs."""
    if not pairs:
        raise ValueError("a contact sheet needs at least one pair")
    rows = -(-len(pairs) // PAIRS_IN_A_ROW)
    across = min(len(pairs), PAIRS_IN_A_ROW)
    widths = ([1, 1, GAP] * across)[:-1]
    size = (PANEL_INCHES * sum(widths), (PANEL_INCHES + 0.5) * rows)
    figure = new_figure(*size, title, remark)
    grid = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for axes in grid.flat:
        bare(axes)
    for number, pair in enumerate(pairs):
        row, at = divmod(number, PAIRS_IN_A_ROW)
        panels = grid[row][3 * at : 3 * at + 2]
        for axes, image, name in zip(panels, (pair.first, pair.second), pair.names, strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_xlabel(wrapped(name, 20), fontsize=6.5, labelpad=2)
        colour = LEAK_COLOUR if pair.leaks else "black"
        panels[0].set_title(pair.words, fontsize=7, loc="left", color=colour)
    return figure
