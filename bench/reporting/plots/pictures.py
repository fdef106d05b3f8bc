"""Figures of pictures: predictions as contours, and what a tokenizer gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bench.reporting.plots.style import PRED_COLOUR, TARGET_COLOUR, bare, new_figure, wrapped

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

PANEL_INCHES = 1.15


@dataclass(frozen=True)
class Example:
    """One case: its picture, its target, and what each method predicted.

    image: uint8 (H, W, 3). target, preds: bool (H, W). preds: title of a column -> mask; a column
    without one stays visibly empty. scores: title of a column -> words under its panel. label: lines
    beside the row.
    """

    label: str
    image: Image
    target: Mask
    preds: Mapping[str, Mask] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reconstruction:
    """A picture and a mask, before and after a tokenizer.

    image, image_back: uint8 (H, W, 3). mask, mask_back: bool (H, W). words: printed beside the row,
    such as the Dice of the masks; worst: the row is one of the worst cases.
    """

    label: str
    image: Image
    image_back: Image
    mask: Mask
    mask_back: Mask
    words: str = ""
    worst: bool = False


def qualitative_figure(
    examples: Sequence[Example], columns: Sequence[str], title: str, remark: str
) -> Figure:
    """A row per example, a column per method: target in green, prediction in yellow contours.

    The first column is the bare picture. Raises ValueError without examples or columns.
    """
    if not examples or not columns:
        raise ValueError("a qualitative figure needs at least one example and one column")
    heads = ["Image", *columns]
    figure = new_figure(0.4 + PANEL_INCHES * len(heads), 0.5 + 1.25 * len(examples), title, remark)
    grid = figure.subplots(len(examples), len(heads), squeeze=False)
    for axes_row, example in zip(grid, examples, strict=True):
        for axes, head in zip(axes_row, heads, strict=True):
            _example_panel(axes, example, head)
        label = "\n".join(wrapped(line, 22) for line in example.label.splitlines())
        axes_row[0].set_ylabel(label, fontsize=7)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(_broken(head), fontsize=7.5)
    _contour_legend(figure)
    return figure


def _broken(head: str) -> str:
    """A long column title in two lines."""
    if len(head) <= 14:
        return head
    for mark in (" ", "-"):
        if mark in head:
            first, _, rest = head.partition(mark)
            return f"{first}{mark.strip()}\n{rest}"
    return head


def _example_panel(axes: Axes, example: Example, head: str) -> None:
    bare(axes)
    if head == "Image":
        axes.imshow(example.image, interpolation="nearest")
        return
    if head not in example.preds:
        axes.text(0.5, 0.5, "no prediction", ha="center", va="center", fontsize=7, color="#777777")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        return
    axes.imshow(example.image, interpolation="nearest")
    contour(axes, example.target, TARGET_COLOUR)
    contour(axes, example.preds[head], PRED_COLOUR)
    if head in example.scores:
        axes.set_xlabel(example.scores[head], fontsize=6.5, labelpad=1)


def contour(axes: Axes, mask: Mask, colour: str) -> None:
    """The outline of a mask, closed also where it touches the picture's edge; none if empty."""
    if not mask.any():
        return
    height, width = mask.shape
    padded = np.pad(mask.astype(np.float64), 1)
    x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
    lines = axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=[1.1])
    lines.set_clip_on(False)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _contour_legend(figure: Figure) -> None:
    words = ((TARGET_COLOUR, "ground truth"), (PRED_COLOUR, "prediction"))
    handles = [Line2D([], [], color=colour, linewidth=2, label=word) for colour, word in words]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=2)
    legend.set_frame_on(True)
    legend.get_frame().set(facecolor="#444444", edgecolor="none")  # yellow needs a dark background
    for text in legend.get_texts():
        text.set_color("white")


def reconstruction_figure(rows: Sequence[Reconstruction], title: str, remark: str = "") -> Figure:
    """A row per case: image, its reconstruction, mask, its reconstruction, and where they differ.

    Worst cases are labelled so. Raises ValueError without rows.
    """
    if not rows:
        raise ValueError("a reconstruction figure needs at least one case")
    heads = ("image", "reconstructed", "mask", "reconstructed", "wrong pixels")
    figure = new_figure(2.2 + 1.3 * len(heads), 0.3 + 1.3 * len(rows), title, remark)
    grid = figure.subplots(len(rows), len(heads), squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        wrong = row.mask ^ row.mask_back
        panels = (row.image, row.image_back, row.mask, row.mask_back, wrong)
        for axes, panel in zip(axes_row, panels, strict=True):
            bare(axes)
            axes.imshow(panel, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        name = wrapped(row.label, 20) + ("\n(worst case)" if row.worst else "")
        axes_row[0].set_ylabel(name, fontsize=7.5, color="#B00000" if row.worst else "black")
        axes_row[-1].yaxis.set_label_position("right")
        axes_row[-1].set_ylabel(
            row.words, fontsize=7.5, rotation=0, ha="left", va="center", labelpad=6
        )
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=8)
    return figure
