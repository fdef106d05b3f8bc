"""Every case decoded once: uint8 images and masks at network size, native masks as bits.

Arrays are cached on disk by content and memory-mapped, so a second process loads them in
milliseconds and shares the pages. Every file of an entry has a sha256 that is verified when the
entry is opened; a damaged entry is set aside and built again. HAM10000 (10,015 cases) takes 2.4 GB at 224 pixels: 1.51 GB
images, 0.50 GB masks, 0.34 GB native masks.
"""

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from bench.core.checksums import Damaged, discard, seal, verify
from bench.core.disk import disk_errors, scratch
from bench.core.errors import BenchError
from bench.core.files import digest
from bench.core.paths import cache_root
from bench.core.threads import in_order
from bench.data.pixels import (
    PixelError,
    load,
    pack,
    pixel_hash,
    resized_image,
    resized_mask,
    to_mask,
    to_rgb,
    unpack,
)
from bench.data.prepared import Case, CaseIndex, case_index, read_records
from bench.protocols import Resize

VERSION = 1
"""Raised whenever the same prepared files could give other arrays: results rest on it."""

FOLDER = "arrays-v2"
"""Of all entries in the cache; the number is raised when stored entries take another form. 2: with
checksums."""

FILES = ("images.npy", "masks.npy", "native.bin", "meta.json")


Progress = Callable[[int, int], None]


class NativeMasks(Sequence[NDArray[np.bool_]]):
    """The masks at stored size, bool (h, w) each, unpacked one at a time.

    bits: all masks' bits one after the other, each from a whole byte; shapes: int64 (N, 2).
    """

    def __init__(self, bits: NDArray[np.uint8], shapes: NDArray[np.int64]) -> None:
        self.bits = bits
        self.shapes = shapes
        sizes = -(-shapes.prod(axis=1) // 8)
        self.starts = np.concatenate(([0], np.cumsum(sizes)))
        if self.starts[-1] != len(bits):
            raise ValueError(f"{len(bits)} bytes of masks, {self.starts[-1]} wanted by the shapes")

    def __len__(self) -> int:
        return len(self.shapes)

    @overload
    def __getitem__(self, at: int) -> NDArray[np.bool_]: ...
    @overload
    def __getitem__(self, at: slice) -> list[NDArray[np.bool_]]: ...
    def __getitem__(self, at: int | slice) -> NDArray[np.bool_] | list[NDArray[np.bool_]]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        i = range(len(self))[at]  # so that negative and out-of-range indices behave as in a list
        height, width = map(int, self.shapes[i])
        return unpack(self.bits[self.starts[i] : self.starts[i + 1]], height, width)


@dataclass(frozen=True)
class CaseArrays:
    """All cases of a dataset at one network size S, in the order of `case_ids`.

    images: uint8 (N, S, S, 3), bilinear from the stored size, aspect ratio not kept (as GMS does).
    masks: bool (N, S, S), nearest neighbour; see `bench.data.pixels` for both. Both are memory-mapped and read-only.
    native_masks: bool (h, w) each, as stored. groups: patient, lesion or the case itself.
    case_hashes: sha256 per case over image and mask at network size; content_hash: over them all.
    """

    dataset: str
    case_ids: tuple[str, ...]
    groups: tuple[str, ...]
    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    native_masks: NativeMasks
    case_hashes: tuple[str, ...]
    content_hash: str

    def rows(self, case_ids: Iterable[str]) -> NDArray[np.int64]:
        """Row numbers of these cases, int64 (n,), in the order asked; KeyError for an unknown case
        id."""
        return np.array([self._row_of[case_id] for case_id in case_ids], np.int64)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {case_id: row for row, case_id in enumerate(self.case_ids)}


@dataclass(frozen=True)
class Decoded:
    """One case: image uint8 (S, S, 3), mask bool (S, S), native mask bool (h, w)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    native: NDArray[np.bool_]


def load_arrays(
    folder: Path,
    size: int,
    cache: Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    resize: Resize = "pillow",
    only: Container[str] | None = None,
) -> CaseArrays:
    """The arrays of the prepared dataset in `<data>/<name>`, from the cache or built into it.

    size: side of the network's square images in pixels. cache: folder, default
    `bench.core.paths.cache_root()`. progress: called with (cases done, cases) while building.
    resize: see `bench.data.pixels`. only: case ids; no file of another case is opened.
    Raises BenchError when a prepared file was changed or removed, and for a full disk.
    """
    records = read_records(folder)
    index, cases = _part(case_index(records), records.cases, only)
    decode = _decoder(folder, size, resize)
    return _cached(index, size, cases, decode, cache, workers, progress, resize)


def _part(
    index: CaseIndex, items: Sequence[Any], only: Container[str] | None
) -> tuple[CaseIndex, Sequence[Any]]:
    """(the index of some cases, what each is decoded from), in the order of all of them."""
    if only is None:
        return index, items
    kept = [place for place, case_id in enumerate(index.case_ids) if case_id in only]

    def of(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[place] for place in kept)

    part = replace(
        index,
        case_ids=of(index.case_ids),
        groups=of(index.groups),
        published_splits=of(index.published_splits),
        classes=of(index.classes),
        components=None if index.components is None else of(index.components),
    )
    return part, [items[place] for place in kept]


def arrays_key(index: CaseIndex, size: int, resize: Resize = "pillow") -> str:
    """sha256, hex, that names the pixels of these cases at `size` without reading one of them.

    It is over the case ids in their order, the content hash of the dataset (its prepared pixels, or
    the style, seed and version of its phantoms), the version of the way from there to arrays, and
    the resize where it is not the default. Equal keys mean equal arrays: they are cached under it.
    """
    named = [] if resize == "pillow" else [resize]
    return digest(["arrays", VERSION, size, index.content_hash, index.case_ids, *named])


def phantom_index(style: str, train: int, test: int, seed: int) -> CaseIndex:
    """The first `train` phantoms of a style as published split "train", the next `test` as "test".

    Every phantom is a scene of its own, so each is its own known group.
    """
    from bench.data import phantoms  # its scipy.special doubles the start-up time of all else

    count = train + test
    ids = tuple(f"{style}-phantom-{number:04d}" for number in range(1, count + 1))
    return CaseIndex(
        dataset=style,
        case_ids=ids,
        groups=ids,
        published_splits=("train",) * train + ("test",) * test,
        classes=(None,) * count,
        content_hash=digest(["phantoms", phantoms.VERSION, style, count, seed]),
        grouped=count,
        components=ids,  # no scene is drawn twice
    )


def phantom_arrays(
    style: str,
    count: int,
    size: int,
    seed: int,
    cache: Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    only: Container[str] | None = None,
) -> CaseArrays:
    """The first `count` phantoms of a style at `size` pixels; ids as of `phantom_index`.

    A phantom is drawn at network size: its native mask is that very mask. only: case ids; no other
    phantom is drawn.
    """
    from bench.data import phantoms

    def draw(number: int) -> Decoded:
        image, mask = phantoms.render(style, number, size, seed)
        return Decoded(image, mask, mask)

    index, numbers = _part(phantom_index(style, count, 0, seed), range(count), only)
    return _cached(index, size, numbers, draw, cache, workers, progress)


def _cached(
    index: CaseIndex,
    size: int,
    items: Sequence[Any],
    decode: Callable[[Any], Decoded],
    cache: Path | None,
    workers: int = 2,
    progress: Progress | None = None,
    resize: Resize = "pillow",
) -> CaseArrays:
    """The stored arrays of `index`, built with `decode(item)` per case when there are none or they
    are damaged.

    Two processes may build the same key at once: each writes its own folder, the first rename
    wins, and both read the same bytes.
    """
    place = (cache or cache_root()) / FOLDER / arrays_key(index, size, resize)[:32]
    with disk_errors(f"cache {index.dataset} at {size} pixels", place.parent):
        if place.exists():
            try:
                return _open(index, size, place)
            except Damaged as damage:
                discard(place, damage)
        _build(place, size, items, decode, workers, progress)
    try:
        return _open(index, size, place)
    except Damaged as damage:
        raise BenchError(
            f"{damage}, although it was just written. Check the disk of {place.parent}, or set "
            "GMS_BENCH_CACHE to a folder on another one."
        ) from damage


def read_case(folder: Path, case: Case) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(image uint8 (h, w, 3), mask bool (h, w)) of a prepared case at stored size.

    Raises BenchError when they are not what `prepare` checked.
    """
    image_file = folder / "images" / case.image
    mask_file = folder / "masks" / f"{case.id}.png"
    try:
        image = to_rgb(load(image_file))
        mask = to_mask(load(mask_file), "> 127")
    except PixelError as error:
        raise BenchError(f"{image_file} or its mask {error}. Prepare again.") from error
    if (pixel_hash(image), pixel_hash(mask)) != (case.image_sha256, case.mask_sha256):
        raise BenchError(
            f"{image_file} or its mask changed since it was prepared. Prepare {folder.name} again."
        )
    return image, mask


def _decoder(folder: Path, size: int, resize: Resize) -> Callable[[Case], Decoded]:
    """Decodes one prepared case and checks that it is what `prepare` checked."""

    def decode(case: Case) -> Decoded:
        image, native = read_case(folder, case)
        small = resized_image(image, size, resize)
        return Decoded(small, resized_mask(native, size, resize), native)

    return decode


def _build(
    place: Path,
    size: int,
    items: Sequence[Any],
    decode: Callable[[Any], Decoded],
    workers: int,
    progress: Progress | None,
) -> None:
    with scratch(place.parent, place.name) as workspace:
        folder = workspace / "new"
        folder.mkdir()
        decoded = in_order(decode, items, workers)
        _write(folder, size, len(items), _counted(decoded, len(items), progress))
        for name in FILES:
            seal(folder / name)
        try:
            os.rename(folder, place)
        except OSError:
            if not place.exists():  # else another process was faster
                raise


def _counted(
    decoded: Iterator[Decoded],
    total: int,
    progress: Progress | None,
) -> Iterator[Decoded]:
    for done, one in enumerate(decoded, start=1):
        if progress:
            progress(done, total)
        yield one


def _write(folder: Path, size: int, count: int, decoded: Iterator[Decoded]) -> None:
    """Stream the cases into .npy files: written, not mapped, so that a full disk is an error
    instead of a crash of the process."""
    shapes, hashes, total = [], [], 0
    with (
        (folder / "images.npy").open("wb") as images,
        (folder / "masks.npy").open("wb") as masks,
        (folder / "native.bin").open("wb") as native,
    ):
        _header(images, np.dtype(np.uint8), (count, size, size, 3))
        _header(masks, np.dtype(np.bool_), (count, size, size))
        for one in decoded:
            images.write(one.image.tobytes())
            masks.write(one.mask.tobytes())
            total += native.write(pack(one.native).tobytes())
            shapes.append(list(one.native.shape))
            hashes.append(digest([pixel_hash(one.image), pixel_hash(one.mask)]))
    meta = {"shapes": shapes, "case_hashes": hashes, "native_bytes": total}
    (folder / "meta.json").write_text(json.dumps(meta))


def _header(file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    description = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": description, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _open(index: CaseIndex, size: int, place: Path) -> CaseArrays:
    """The arrays stored in `place`; Damaged when they are not what was written."""
    for name in FILES:
        verify(place / name)
    try:
        meta = json.loads((place / "meta.json").read_text())
        images = np.load(place / "images.npy", mmap_mode="r")
        masks = np.load(place / "masks.npy", mmap_mode="r")
        bits = np.memmap(place / "native.bin", np.uint8, "r", shape=(meta["native_bytes"],))
        native = NativeMasks(bits, np.array(meta["shapes"], np.int64))
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{place} cannot be read ({error})") from error
    if images.shape != (len(index.case_ids), size, size, 3):
        raise Damaged(f"{place} holds images of shape {images.shape}")
    return CaseArrays(
        dataset=index.dataset,
        case_ids=index.case_ids,
        groups=index.groups,
        images=images,
        masks=masks,
        native_masks=native,
        case_hashes=tuple(meta["case_hashes"]),
        content_hash=digest(meta["case_hashes"]),
    )
