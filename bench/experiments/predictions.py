"""Every predicted mask of a test set, kept with the cell: without loss, and small.

A file holds the masks of all cases on the network grid and on each image's native grid, as bits
under deflate, so that a new metric needs neither network nor GPU.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.files import file_digest, write_with
from bench.data.pixels import pack, unpack

Mask = NDArray[np.bool_]

FOLDER = "predictions"


@dataclass(frozen=True)
class Predictions:
    """Predicted masks of one test set, in the order of `case_ids`.

    network, native: bool (H, W) each; on the network grid all of one size.
    """

    case_ids: tuple[str, ...]
    network: tuple[Mask, ...]
    native: tuple[Mask, ...]

    def write(self, folder: Path, label: str) -> str:
        """Store them for the test set `label` of the cell in `folder`; returns the file's sha256."""
        content: dict[str, Any] = {"case_ids": np.array(self.case_ids)}
        for grid, masks in (("network", self.network), ("native", self.native)):
            content[f"{grid}_shapes"] = np.array([mask.shape for mask in masks], np.int32)
            content[f"{grid}_bits"] = np.concatenate([pack(mask) for mask in masks])
        file = predictions_file(folder, label)
        write_with(file, lambda target: np.savez_compressed(target, **content))
        return file_digest(file)


def predictions_file(folder: Path, label: str) -> Path:
    """Where the predictions for a test set lie in a cell's folder."""
    return folder / FOLDER / f"{label}.npz"


def read_predictions(folder: Path, label: str, checksum: str) -> Predictions:
    """The predictions for a test set.

    checksum: sha256 that the cell's record states. Raises BenchError when the file is missing or
    is another one.
    """
    file = predictions_file(folder, label)
    if not file.is_file() or file_digest(file) != checksum:
        raise BenchError(
            f"{file} is missing or was changed since the cell was stored. Run the cell's matrix "
            "again: the stored weights predict anew."
        )
    with np.load(file, allow_pickle=False) as stored:
        case_ids = tuple(map(str, stored["case_ids"]))
        masks = {
            grid: tuple(_unpacked(stored[f"{grid}_bits"], stored[f"{grid}_shapes"]))
            for grid in ("network", "native")
        }
    return Predictions(case_ids, masks["network"], masks["native"])


def _unpacked(bits: NDArray[np.uint8], shapes: NDArray[np.int32]) -> Iterable[Mask]:
    start = 0
    for height, width in shapes.tolist():
        stop = start + -(-height * width // 8)
        yield unpack(bits[start:stop], height, width)
        start = stop
