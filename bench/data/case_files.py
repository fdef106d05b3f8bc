"""Checking the files of each case and writing them in the prepared form."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.errors import BenchError
from bench.core.threads import in_order
from bench.data.layouts import CaseFiles, Match
from bench.data.pixels import PixelError, load, orientation, pixel_hash, to_mask, to_rgb
from bench.data.prepared import Case
from bench.data.publisher import PublisherMetadata

Progress = Callable[[int, int], None]


class Incomplete(Exception):
    """A case whose masks cannot all be joined; the text says why."""


@dataclass(frozen=True)
class WrittenCase:
    """One case as written. foreground: pixels of its joined mask."""

    case: Case
    foreground: int


@dataclass(frozen=True)
class Writer:
    """Writes cases below `folder`: images/ byte for byte, masks/ joined to 0 and 255.

    rule: which mask levels are foreground, see `bench.data.pixels.to_mask`.
    rescale: bring masks of another size to their image's, see `Card.masks_rescaled`.
    """

    match: Match
    metadata: PublisherMetadata
    rule: str
    rescale: bool
    folder: Path

    def write_all(
        self, cases: list[CaseFiles], workers: int, progress: Progress | None
    ) -> tuple[list[WrittenCase], list[tuple[str, str]]]:
        """(cases written, (case id, why) of those that are incomplete).

        Raises BenchError naming up to ten files that are bad.
        """
        (self.folder / "images").mkdir(parents=True)
        (self.folder / "masks").mkdir()
        written: list[WrittenCase] = []
        incomplete: list[tuple[str, str]] = []
        faults: list[str] = []
        for done, result in enumerate(in_order(self._attempt, cases, workers), start=1):
            if isinstance(result, WrittenCase):
                written.append(result)
            elif isinstance(result, Incomplete):
                incomplete.append((cases[done - 1].case_id, str(result)))
            else:
                faults.append(str(result))
            if progress:
                progress(done, len(cases))
        if faults:
            raise _bad(faults)
        return written, incomplete

    def _attempt(self, files: CaseFiles) -> WrittenCase | Incomplete | PixelError:
        """The outcome as a value, so that one bad case does not hide the next."""
        try:
            return self._write(files)
        except (Incomplete, PixelError) as error:
            return error

    def _write(self, files: CaseFiles) -> WrittenCase:
        image = self._load(files.image)
        mask = self._joined(files, image.size)
        name = files.case_id + PurePosixPath(files.image).suffix.lower()
        shutil.copyfile(self.match.files[files.image], self.folder / "images" / name)
        Image.fromarray(mask).save(self.folder / "masks" / f"{files.case_id}.png")
        return WrittenCase(self._case(files, name, image, mask), int(mask.sum()))

    def _case(
        self, files: CaseFiles, name: str, image: Image.Image, mask: NDArray[np.bool_]
    ) -> Case:
        remarks = [f"{len(files.masks)} masks joined"] if len(files.masks) > 1 else []
        if self.rescale:
            remarks.append("mask brought to the image's size where it had another")
        if orientation(image) != 1:
            remarks.append(f"EXIF orientation {orientation(image)} not applied")
        return Case(
            id=files.case_id,
            image=name,
            group=self.metadata.groups.get(files.case_id),
            published_split=self.metadata.splits.get(files.case_id),
            class_=self.metadata.classes.get(files.case_id),
            width=image.width,
            height=image.height,
            image_sha256=pixel_hash(to_rgb(image)),
            mask_sha256=pixel_hash(mask),
            remarks=tuple(remarks),
        )

    def _load(self, path: str) -> Image.Image:
        try:
            return load(self.match.files[path])
        except PixelError as error:
            raise PixelError(f"{path} {error}") from error

    def _joined(self, files: CaseFiles, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The OR of all masks, bool (H, W)."""
        stored = {path: self._load(path) for path in files.masks}
        misfits = [
            f"{path} is {mask.width} x {mask.height} pixels and its image {files.image} "
            f"{size[0]} x {size[1]}; a mask must have its image's size"
            for path, mask in stored.items()
            if not self._fits(mask, size)
        ]
        if misfits and len(misfits) < len(stored):
            raise Incomplete("; ".join(misfits))
        if misfits:
            raise PixelError("; ".join(misfits))
        joined = np.zeros(size[::-1], bool)
        for path, mask in stored.items():
            joined |= _resized(self._foreground(path, mask), size)
        return joined

    def _fits(self, mask: Image.Image, size: tuple[int, int]) -> bool:
        if not self.rescale:
            return mask.size == size
        return abs(mask.width * size[1] / (mask.height * size[0]) - 1) < 0.01

    def _foreground(self, path: str, mask: Image.Image) -> NDArray[np.bool_]:
        try:
            return to_mask(mask, self.rule)
        except PixelError as error:
            raise PixelError(f"{path} {error}") from error


def _resized(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at (width, height) `size`, by nearest neighbour."""
    if mask.shape == size[::-1]:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _bad(faults: list[str]) -> BenchError:
    shown = "\n  ".join(faults[:10]) + (f"\n  and {len(faults) - 10} more" if faults[10:] else "")
    return BenchError(
        f"{len(faults)} case(s) cannot be used, so nothing was prepared:\n  {shown}\nGet these "
        "files from the publisher again, or leave the cases out by name (--leave-out CASE)."
    )
