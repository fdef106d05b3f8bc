"""Checking the files of each case and writing them in the prepared form."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.errors import BenchError
from bench.core.threads import in_order
from bench.data.audit.masks import MaskFacts, mask_facts
from bench.data.layouts import CaseFiles, Match
from bench.data.pixels import PixelError, load, pixel_hash, soft_pixels, to_mask, to_rgb
from bench.data.prepared import Case
from bench.data.publisher import PublisherMetadata
from bench.data.remarks import Header, image_remarks, mask_remarks, read_header

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class JoinedMask:
    """mask: the OR of a case's mask files, bool (H, W). files: how many were joined. dropped: a
    remark on each file that was not, because its size is not the image's. misfits: files of another
    size than the image, dropped or rescaled. soft: pixels with levels between background and
    foreground. remarks: on the files that were joined."""

    mask: NDArray[np.bool_]
    files: int
    dropped: tuple[str, ...]
    misfits: int
    soft: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class WrittenCase:
    """One case as written. facts: of its joined mask; the rest as in `JoinedMask`."""

    case: Case
    facts: MaskFacts
    joined: int
    dropped: tuple[str, ...]


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
    ) -> list[WrittenCase]:
        """The cases written. Raises BenchError naming up to ten files that are bad."""
        (self.folder / "images").mkdir(parents=True)
        (self.folder / "masks").mkdir()
        written: list[WrittenCase] = []
        faults: list[str] = []
        for done, result in enumerate(in_order(self._attempt, cases, workers), start=1):
            if isinstance(result, WrittenCase):
                written.append(result)
            else:
                faults.append(str(result))
            if progress:
                progress(done, len(cases))
        if faults:
            raise _bad(faults)
        return written

    def _attempt(self, files: CaseFiles) -> WrittenCase | PixelError:
        """The outcome as a value, so that one bad case does not hide the next."""
        try:
            return self._write(files)
        except PixelError as error:
            return error

    def _write(self, files: CaseFiles) -> WrittenCase:
        image = self._load(files.image)
        joined = self._joined(files, image.size)
        name = files.case_id + PurePosixPath(files.image).suffix.lower()
        shutil.copyfile(self.match.files[files.image], self.folder / "images" / name)
        Image.fromarray(joined.mask).save(self.folder / "masks" / f"{files.case_id}.png")
        case = self._case(files, name, image, joined)
        facts = mask_facts(joined.mask, joined.misfits, joined.soft)
        return WrittenCase(case, facts, joined.files, joined.dropped)

    def _case(self, files: CaseFiles, name: str, image: Image.Image, joined: JoinedMask) -> Case:
        remarks = [f"{joined.files} masks joined"] if joined.files > 1 else []
        remarks += joined.dropped
        if self.rescale:
            remarks.append("mask brought to the image's size where it had another")
        header, *masks = map(self._header, (files.image, *files.masks))
        with _named(files.image):
            rgb = to_rgb(image)
        remarks += [*image_remarks(image, header, masks), *joined.remarks]
        return Case(
            id=files.case_id,
            image=name,
            group=self.metadata.groups.get(files.case_id),
            published_split=self.metadata.splits.get(files.case_id),
            class_=self.metadata.classes.get(files.case_id),
            width=image.width,
            height=image.height,
            image_sha256=pixel_hash(rgb),
            mask_sha256=pixel_hash(joined.mask),
            remarks=tuple(remarks),
            misfits=joined.misfits,
            soft_pixels=joined.soft,
        )

    def _load(self, path: str) -> Image.Image:
        with _named(path):
            return load(self.match.files[path])

    def _header(self, path: str) -> Header:
        with _named(path):
            return read_header(self.match.files[path])

    def _joined(self, files: CaseFiles, size: tuple[int, int]) -> JoinedMask:
        """The OR of the masks that have their image's size; PixelError where none has."""
        stored = {path: self._load(path) for path in files.masks}
        fitting = {path: mask for path, mask in stored.items() if self._fits(mask, size)}
        misfits = tuple(
            f"{path} is {mask.width} x {mask.height} pixels and its image {files.image} "
            f"{size[0]} x {size[1]}"
            for path, mask in stored.items()
            if path not in fitting
        )
        if misfits and not fitting:
            raise PixelError(f"{'; '.join(misfits)}; a mask must have its image's size")
        joined = np.zeros(size[::-1], bool)
        for path, mask in fitting.items():
            joined |= _resized(self._foreground(path, mask), size)
        dropped = tuple(f"mask dropped: {why}" for why in misfits)
        other_sizes = sum(mask.size != size for mask in stored.values())
        soft = sum(soft_pixels(mask, self.rule) for mask in fitting.values())
        remarks = tuple(mask_remarks([*fitting.values()]))
        return JoinedMask(joined, len(fitting), dropped, other_sizes, soft, remarks)

    def _fits(self, mask: Image.Image, size: tuple[int, int]) -> bool:
        if not self.rescale:
            return mask.size == size
        return abs(mask.width * size[1] / (mask.height * size[0]) - 1) < 0.01

    def _foreground(self, path: str, mask: Image.Image) -> NDArray[np.bool_]:
        with _named(path):
            return to_mask(mask, self.rule)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """A PixelError inside the block names the file."""
    try:
        yield
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
