"""Procedural pictures and masks on which the embedded tokenizers are trained.

No real image is involved: those are for evaluation. Pictures are phantoms of all styles, dead leaves,
textures, speckle, gradients, shapes and text; masks are phantom masks, blobs, many components,
thin tools, holes, letters, border-touching and wholly empty or full ones. A tokenizer trained on
dead leaves and noise transfers to photographs (Baradad et al. 2021, arXiv:2106.05963).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.core.errors import BenchError
from bench.core.files import atomic_open, digest
from bench.data import phantoms
from bench.data.phantoms._canvas import Canvas, Field, blend, sigmoid, to_uint8
from bench.data.pixels import PixelError, load, to_rgb

VERSION = 1
"""Raise this whenever any picture changes: the model cards name it."""

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LETTERS = "ABCDEFGHKLMNPRSTUVWXYZabdeghkmnqrst0123456789+-/.%"


def paint_image(index: int, size: int, seed: int) -> Picture:
    """Picture number `index`, uint8 (size, size, 3); half of all are phantoms, a style each."""
    if index % 2 == 0:
        style = phantoms.STYLES[index // 2 % len(phantoms.STYLES)]
        return phantoms.render(style, index, size, seed)[0]
    canvas = Canvas(size, np.random.default_rng([seed, 1, index]))
    painters = tuple(_IMAGES.values())
    picture = to_uint8(painters[index // 2 % len(painters)](canvas))
    if canvas.chance(0.35):  # ultrasound and much of radiology are grey
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    return picture


def paint_mask(index: int, size: int, seed: int) -> Mask:
    """Mask number `index`, bool (size, size); two in nine are phantom masks."""
    canvas = Canvas(size, np.random.default_rng([seed, 2, index]))
    painters = tuple(_MASKS.values())
    mask = painters[index % len(painters)](canvas)
    return ~mask if canvas.chance(0.08) else mask


def _colour(canvas: Canvas) -> NDArray[np.float64]:
    return canvas.rng.uniform(0.0, 1.0, 3)


def _two_colours(canvas: Canvas, field: Field) -> Field:
    """Map a (S, S) field in [0, 1] to a picture between two random colours."""
    return blend(np.broadcast_to(_colour(canvas), (*field.shape, 3)), _colour(canvas), field)


def _gradient(canvas: Canvas) -> Field:
    along, across = canvas.frame((0.5, 0.5), canvas.uniform(0, 2 * np.pi))
    radial = canvas.chance(0.4)
    field = np.hypot(along, across) * 1.5 if radial else along + 0.5
    return _two_colours(canvas, np.clip(field * canvas.uniform(0.6, 1.4), 0, 1))


def _clouds(canvas: Canvas) -> Field:
    """Coloured noise whose amplitude halves per octave, as in natural images."""
    octaves, cells = int(canvas.rng.integers(2, 7)), int(canvas.rng.integers(1, 6))
    fields = np.stack([canvas.fractal(cells, octaves) for _ in range(3)], axis=-1)
    mixed = fields @ canvas.rng.uniform(-0.2, 1.0, (3, 3))
    return np.clip(_colour(canvas) + mixed * canvas.uniform(0.05, 0.3), 0, 1)


def _speckle(canvas: Canvas) -> Field:
    """Layered tissue under Rayleigh speckle, elongated across the beam, log-compressed."""
    rows, columns = int(canvas.rng.integers(40, 130)), int(canvas.rng.integers(20, 90))
    real, imaginary = canvas.noise(columns, rows), canvas.noise(columns, rows)
    layers = canvas.noise(int(canvas.rng.integers(1, 4)), int(canvas.rng.integers(3, 14)))
    tissue = canvas.uniform(0.15, 0.55) + canvas.uniform(0.05, 0.2) * layers
    echo = np.log1p(canvas.uniform(1, 6) * np.hypot(real, imaginary)) / 2.2
    picture = np.clip(tissue, 0.0, 1.0) * (1 + canvas.uniform(0.2, 1.0) * (echo - 0.6))
    return np.repeat(np.clip(picture, 0, 1)[..., None], 3, axis=2)


def _weave(canvas: Canvas) -> Field:
    """A periodic texture bent by noise."""
    along, across = canvas.frame((0.5, 0.5), canvas.uniform(0, np.pi))
    bend = canvas.uniform(0, 0.1) * canvas.noise(int(canvas.rng.integers(2, 8)))
    stripes = np.sin(2 * np.pi * canvas.uniform(3, 40) * (along + bend))
    if canvas.chance(0.5):
        stripes = stripes * np.sin(2 * np.pi * canvas.uniform(3, 40) * (across + bend))
    return _two_colours(canvas, 0.5 + 0.5 * stripes)


def _cells(canvas: Canvas) -> Field:
    """Stained nuclei: dark dots on a mottled ground."""
    ground = _clouds(canvas)
    dots = canvas.dots(int(canvas.rng.integers(8, 40)))
    coverage = sigmoid(canvas.uniform(0.2, 0.4) - dots, 0.15)
    return np.clip(blend(ground, _colour(canvas) * 0.6, coverage * canvas.uniform(0.5, 1)), 0, 1)


def _leaves(canvas: Canvas) -> Field:
    """Dead leaves: opaque discs and polygons, sizes by a power law, each with its own shade."""
    picture = Image.fromarray(to_uint8(_clouds(canvas)))
    draw = ImageDraw.Draw(picture)
    base, spread = _colour(canvas) * 255, canvas.uniform(20, 120)
    for _ in range(int(canvas.rng.integers(20, 250))):
        radius = 0.012 / max(canvas.rng.random(), 0.03) * canvas.size
        shade = np.clip(base + canvas.rng.normal(0, spread, 3), 0, 255).astype(int)
        draw.polygon(_polygon_points(canvas, radius), fill=tuple(int(v) for v in shade))
    leaves = np.asarray(picture) / 255.0
    grain = canvas.noise(canvas.size // 2)[..., None]
    return np.clip(leaves + canvas.uniform(0, 0.06) * grain, 0, 1)


def _polygon_points(canvas: Canvas, radius: float) -> list[tuple[float, float]]:
    """Corners in pixels of a random polygon (many corners: nearly a disc)."""
    corners = int(canvas.rng.choice([3, 4, 5, 8, 24]))
    centre = canvas.rng.uniform(-0.1, 1.1, 2) * canvas.size
    angles = canvas.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    reach = radius * canvas.rng.uniform(0.75, 1.0, corners)
    x, y = centre[0] + reach * np.cos(angles), centre[1] + reach * np.sin(angles)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _text(canvas: Canvas) -> Field:
    """Letters and ruler marks, as scanners burn them into images."""
    picture = Image.fromarray(to_uint8(_clouds(canvas) * canvas.uniform(0, 1)))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(canvas.rng.integers(3, 14))):
        _write(canvas, draw, tuple(int(v) for v in _colour(canvas) * 255))
    return np.asarray(picture) / 255.0


def _write(canvas: Canvas, draw: ImageDraw.ImageDraw, fill: "int | tuple[int, ...]") -> None:
    word = "".join(canvas.rng.choice(list(LETTERS), int(canvas.rng.integers(1, 9))))
    height = float(canvas.rng.uniform(0.04, 0.35)) * canvas.size
    place = (canvas.rng.uniform(-0.1, 0.9, 2) * canvas.size).tolist()
    draw.text(place, word, fill=fill, font=ImageFont.load_default(height))


def _lesions(canvas: Canvas) -> Field:
    """Soft lobed regions of differing texture on textured tissue."""
    picture = _clouds(canvas)
    for _ in range(int(canvas.rng.integers(1, 5))):
        soft = canvas.uniform(0.004, 0.08)
        coverage = canvas.inside(_random_lobe(canvas, 0.08, 0.4), soft) * canvas.uniform(0.3, 1)
        picture = blend(picture, _clouds(canvas), coverage)
    grain = canvas.noise(int(canvas.rng.integers(30, 120)))[..., None]
    return np.clip(picture + canvas.uniform(0, 0.08) * grain, 0, 1)


def _random_lobe(canvas: Canvas, smallest: float, largest: float) -> Field:
    """Signed distance of one lobed region anywhere, partly outside the picture at times."""
    centre = (canvas.uniform(0.0, 1.0), canvas.uniform(0.0, 1.0))
    radii = (canvas.uniform(smallest, largest), canvas.uniform(smallest, largest))
    lobes = canvas.rng.normal(0, canvas.uniform(0.0, 0.09), int(canvas.rng.integers(1, 12)))
    return canvas.lobed(centre, radii, canvas.uniform(0, np.pi), lobes.tolist())


def _phantom_mask(canvas: Canvas) -> Mask:
    style = str(canvas.rng.choice(phantoms.STYLES))
    index = int(canvas.rng.integers(0, 1 << 30))
    return phantoms.render(style, index, canvas.size, 0)[1]


def _blob(canvas: Canvas) -> Mask:
    """One to three lobed lesions; annotators' hands shake, hence a little noise."""
    field = np.full((canvas.size, canvas.size), np.inf)
    for _ in range(int(canvas.rng.integers(1, 4))):
        field = np.minimum(field, _random_lobe(canvas, 0.04, 0.45))
    tremor = canvas.noise(int(canvas.rng.integers(10, 60))) * canvas.uniform(0.0, 0.012)
    return field + tremor < 0


def _many(canvas: Canvas) -> Mask:
    """Many small components: cells of a jittered lattice."""
    dots = canvas.dots(int(canvas.rng.integers(4, 17)))
    return dots + 0.08 * canvas.noise(30) < canvas.uniform(0.2, 0.42)


def _islands(canvas: Canvas) -> Mask:
    """A random field above a level: winding regions with holes, at any scale."""
    field = canvas.fractal(int(canvas.rng.integers(2, 16)), int(canvas.rng.integers(1, 4)))
    return field > canvas.uniform(-0.5, 1.2)


def _tools(canvas: Canvas) -> Mask:
    """Thin shafts from the border inwards, straight or bent, with jaws or loops at the tip."""
    mask = np.zeros((canvas.size, canvas.size), bool)
    for _ in range(int(canvas.rng.integers(1, 4))):
        angle = canvas.uniform(0, 2 * np.pi)
        tip = (canvas.uniform(0.2, 0.8), canvas.uniform(0.2, 0.8))
        root = (tip[0] + 1.5 * np.cos(angle), tip[1] + 1.5 * np.sin(angle))
        mask |= canvas.segment(tip, root) < canvas.uniform(0.006, 0.09)
        mask |= canvas.arc(tip, angle, canvas.uniform(-3, 3), 0.2) < canvas.uniform(0.003, 0.03)
    return mask


def _holes(canvas: Canvas) -> Mask:
    """A large region with bites taken out of it."""
    mask = _random_lobe(canvas, 0.2, 0.5) < 0
    for _ in range(int(canvas.rng.integers(1, 9))):
        mask &= _random_lobe(canvas, 0.01, 0.12) > 0
    return mask


def _glyphs(canvas: Canvas) -> Mask:
    """Letters and polygons: corners and hair lines that no organ has."""
    sheet = Image.new("L", (canvas.size, canvas.size))
    draw = ImageDraw.Draw(sheet)
    for _ in range(int(canvas.rng.integers(1, 8))):
        if canvas.chance(0.5):
            _write(canvas, draw, 255)
        else:
            radius = canvas.uniform(0.02, 0.3) * canvas.size
            draw.polygon(_polygon_points(canvas, radius), fill=255)
    return np.asarray(sheet) > 127


def _plain(canvas: Canvas) -> Mask:
    """Wholly empty, wholly full, or a band along the border."""
    kind = canvas.rng.integers(0, 3)
    if kind == 2:
        along, _ = canvas.frame((0.5, 0.5), canvas.uniform(0, 2 * np.pi))
        return along + 0.02 * canvas.noise(8) > canvas.uniform(0.0, 0.5)
    return np.full((canvas.size, canvas.size), bool(kind))


_IMAGES: dict[str, Callable[[Canvas], Field]] = {
    "leaves": _leaves,
    "clouds": _clouds,
    "speckle": _speckle,
    "lesions": _lesions,
    "cells": _cells,
    "text": _text,
    "weave": _weave,
    "gradient": _gradient,
}
_MASKS: dict[str, Callable[[Canvas], Mask]] = {
    "phantom": _phantom_mask,
    "blob": _blob,
    "many": _many,
    "islands": _islands,
    "tools": _tools,
    "holes": _holes,
    "glyphs": _glyphs,
    "phantom again": _phantom_mask,
    "plain": _plain,
}


class Pool:
    """Pre-rendered pictures and masks to cut training batches from.

    images: uint8 (N, S, S, 3); masks: uint8 0/1 (M, S, S), both memory-mapped where stored.
    """

    def __init__(self, images: Picture, masks: Picture) -> None:
        self.images, self.masks = images, masks

    @classmethod
    def stored(
        cls,
        folder: Path,
        images: int,
        masks: int,
        size: int,
        seed: int,
        progress: Callable[[str], None] = lambda line: None,
        extra: Sequence[Picture] = (),
    ) -> "Pool":
        """The pool of these settings from `folder`, rendered there first where it is missing.

        extra: further pictures uint8 (size, size, 3), the user's own (`--data`).
        """
        facts = [VERSION, phantoms.VERSION, images, masks, size, seed]
        key = digest([*facts, [int(p.sum()) for p in extra]])[:16]
        paths = [folder / f"pool-{key}-{kind}.npy" for kind in ("images", "masks")]
        if not all(path.is_file() for path in paths):
            progress(f"rendering {images} pictures and {masks} masks of {size} px")
            pictures = [paint_image(i, size, seed) for i in range(images)]
            shapes = [paint_mask(i, size, seed) for i in range(masks)]
            stacks = (np.stack([*pictures, *extra]), np.stack(shapes).astype(np.uint8))
            for path, stack in zip(paths, stacks, strict=True):
                with atomic_open(path) as file:
                    np.save(file, stack)
        return cls(*(np.load(path, mmap_mode="r") for path in paths))

    def image_crops(self, rng: np.random.Generator, count: int, side: int) -> Picture:
        """`count` random crops (count, side, side, 3), turned, flipped, recoloured, some grey."""
        return np.stack([self._image_crop(rng, side) for _ in range(count)])

    def _image_crop(self, rng: np.random.Generator, side: int) -> Picture:
        image = self.images[rng.integers(len(self.images))]
        crop = _turned(_cut(image, rng, side), rng).astype(np.float32)
        if rng.random() < 0.25:
            crop = crop[..., rng.permutation(3)]
        if rng.random() < 0.25:
            crop = np.repeat(crop.mean(axis=2, keepdims=True), 3, axis=2)
        if rng.random() < 0.5:
            crop = (crop - 127.5) * rng.uniform(0.6, 1.4) + 127.5 + rng.uniform(-40, 40)
        return np.clip(np.rint(crop), 0, 255).astype(np.uint8)

    def mask_crops(self, rng: np.random.Generator, count: int, size: int) -> Picture:
        """`count` crops (count, size, size) of 0/1, rescaled by nearest neighbour as data are."""
        return np.stack([self._mask_crop(rng, size) for _ in range(count)])

    def _mask_crop(self, rng: np.random.Generator, size: int) -> Picture:
        largest = self.masks.shape[1]
        for _ in range(4):  # a crop without a border teaches little; keep one now and then
            mask = self.masks[rng.integers(len(self.masks))]
            side = int(min(largest, round(size * 2 ** rng.uniform(-1.0, 1.5))))
            crop = _cut(mask, rng, side)
            if 0 < crop.sum() < crop.size:
                break
        rows = ((np.arange(size) + 0.5) * side / size).astype(int)
        return _turned(crop[np.ix_(rows, rows)], rng)


def _cut(picture: Picture, rng: np.random.Generator, side: int) -> Picture:
    room = picture.shape[0] - side
    top, left = rng.integers(0, room + 1, 2)
    return picture[top : top + side, left : left + side]


def _turned(picture: Picture, rng: np.random.Generator) -> Picture:
    turned = np.rot90(picture, int(rng.integers(4)))
    return turned[:, ::-1] if rng.random() < 0.5 else turned


def read_pictures(folder: Path, size: int) -> list[Picture]:
    """Every image file below `folder`, its central square as uint8 (size, size, 3), by name.

    Raises BenchError when a file cannot be read or there is none.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise BenchError(
            f"{folder} holds no pictures ({', '.join(PICTURE_SUFFIXES)}). Name another folder."
        )
    return [_central_square(file, size) for file in files]


def _central_square(file: Path, size: int) -> Picture:
    try:
        image = Image.fromarray(to_rgb(load(file)))
    except PixelError as error:
        raise BenchError(f"{file} {error}. Move it away or replace it.") from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))
