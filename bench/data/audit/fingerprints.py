"""Small copies of all images of a dataset: what near-duplicates are found by."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from bench.core.threads import in_order
from bench.data.arrays import read_case
from bench.data.audit.masks import MaskFacts, mask_facts
from bench.data.prepared import Case, Index

GREY, HASHED = 64, 32
"""Sides in px of the copy that is correlated and of the one that is hashed."""

Progress = Callable[[int, int], None]

Square = NDArray[np.uint8]


def turned(squares: NDArray, turn: int) -> NDArray:
    """Square images (N, S, S) under one of the 8 flips and quarter turns.

    turn: number of quarter turns to the left, plus 4 where the result is then mirrored left to
    right. 0 is the image as stored.
    """
    rotated = np.rot90(squares, turn % 4, axes=(1, 2))
    return rotated[:, :, ::-1] if turn >= 4 else rotated


TURNS = (
    "as stored",
    "90° left",
    "180°",
    "90° right",
    "mirrored",
    "90° left, mirrored",
    "180°, mirrored",
    "90° right, mirrored",
)
"""The number of a turn -> its name in manifests and figures."""


@dataclass(frozen=True)
class Fingerprints:
    """Grey copies of a dataset's images, aspect ratio not kept.

    grey: uint8 (N, 64, 64), bilinear with antialiasing. hashed: uint8 (N, 32, 32), Lanczos.
    """

    case_ids: tuple[str, ...]
    grey: Square
    hashed: Square

    def hashes(self, turn: int = 0) -> NDArray[np.bool_]:
        """Perceptual hashes of the turned images, bool (N, 64).

        The 8 x 8 lowest frequencies of the DCT, each above or not above their median
        (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"; the
        form that the package ImageHash calls phash).
        """
        spectra = dctn(turned(self.hashed, turn).astype(np.float64), axes=(1, 2))[:, :8, :8]
        # Rounded, so that frequencies an image does not have are 0 and not noise around it.
        low = spectra.reshape(len(spectra), -1).round(6)
        return low > np.median(low, axis=1, keepdims=True)

    def unit(self) -> NDArray[np.float32]:
        """Grey copies less their mean, at length 1, float32 (N, 4096); zeros for a constant image."""
        flat = self.grey.reshape(len(self.grey), -1).astype(np.float32)
        flat -= flat.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(flat, axis=1, keepdims=True)
        return np.divide(flat, lengths, out=flat, where=lengths > 0)


def fingerprint(
    folder: Path, index: Index, workers: int = 2, progress: Progress | None = None
) -> tuple[Fingerprints, dict[str, MaskFacts]]:
    """The copies of all images of a prepared dataset in the order of its ids, and its masks' facts.

    Raises BenchError when a prepared file was changed or removed.
    """
    cases = sorted(index.cases, key=lambda case: case.id)
    grey = np.empty((len(cases), GREY, GREY), np.uint8)
    hashed = np.empty((len(cases), HASHED, HASHED), np.uint8)
    facts: dict[str, MaskFacts] = {}
    for done, (case, (large, small, own)) in enumerate(
        zip(cases, _copies(folder, cases, workers), strict=True)
    ):
        grey[done], hashed[done], facts[case.id] = large, small, own
        if progress:
            progress(done + 1, len(cases))
    return Fingerprints(tuple(case.id for case in cases), grey, hashed), facts


def _copies(
    folder: Path, cases: Sequence[Case], workers: int
) -> Iterator[tuple[Square, Square, MaskFacts]]:
    """(grey copy, copy to be hashed, facts of the mask) of each case, in order."""

    def copy(case: Case) -> tuple[Square, Square, MaskFacts]:
        pixels, mask = read_case(folder, case)
        image = Image.fromarray(pixels).convert("L")
        large = image.resize((GREY, GREY), Image.Resampling.BILINEAR)
        small = image.resize((HASHED, HASHED), Image.Resampling.LANCZOS)
        facts = mask_facts(mask, case.misfits, case.soft_pixels)
        return np.asarray(large), np.asarray(small), facts

    return in_order(copy, cases, workers)
