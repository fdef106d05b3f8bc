"""Figures from stored cells and from pictures given as arrays; matplotlib's Agg, no display.

`build_figures` draws what a matrix's cells allow. The figures of pictures can be called alone:

    with styled():
        save(reconstruction_figure(rows, "tiny-kl"), folder, "tiny-kl")

Importing this package imports matplotlib (about half a second), so callers import it late.
"""

from bench.reporting.plots.build import build_figures
from bench.reporting.plots.pictures import (
    Example,
    Reconstruction,
    qualitative_figure,
    reconstruction_figure,
)
from bench.reporting.plots.style import save, styled

__all__ = [
    "Example",
    "Reconstruction",
    "build_figures",
    "qualitative_figure",
    "reconstruction_figure",
    "save",
    "styled",
]
