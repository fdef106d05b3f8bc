"""Time of an audit of synthetic images in the form and number of HAM10000.

    python benchmarks/audit.py [--cases 10015] [--folder FOLDER]

Every 100th image is a copy of the one before, turned, recompressed or brightened: the exit status is
1 unless exactly these pairs are found. Images are 600 x 450 JPEG. FOLDER keeps the prepared images
for another run; without it they are removed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bench.core.threads import in_order
from bench.data.audit.audit import audit
from bench.data.audit.fingerprints import fingerprint
from bench.data.audit.near import near_duplicates
from bench.data.cards import load_card
from bench.data.prepare import prepare
from bench.data.prepared import read_records

WIDTH, HEIGHT = 600, 450
EVERY = 100


def picture(number: int) -> Image.Image:
    """Skin with one blob and smooth texture, all drawn from the number."""
    rng = np.random.default_rng(number)
    texture = Image.fromarray(rng.integers(60, 200, (9, 12, 3), np.uint8))
    pixels = np.asarray(texture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return Image.fromarray(np.where(blob(number)[..., None], pixels // 2, pixels))


def blob(number: int) -> np.ndarray:
    """The mask of an image: an ellipse near the middle."""
    rng = np.random.default_rng([number, 1])
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    centre, radii = rng.uniform(0.35, 0.65, 2), rng.uniform(0.1, 0.3, 2)
    return ((x / WIDTH - centre[0]) / radii[0]) ** 2 + (
        (y / HEIGHT - centre[1]) / radii[1]
    ) ** 2 < 1


def write_case(folder: Path, number: int) -> None:
    """One image and mask; every 100th is a changed copy of the one before."""
    name = f"ISIC_{number:07d}"
    image, mask = picture(number), Image.fromarray(blob(number))
    if number % EVERY == 0 and number:
        image = picture(number - 1).point(lambda level: min(255, level + 8))
        if number // EVERY % 2:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.save(folder / "images" / f"{name}.jpg", quality=85)
    mask.save(folder / "masks" / f"{name}.png")


def prepared(folder: Path, cases: int) -> Path:
    """The synthetic dataset, prepared in `folder` unless it is there."""
    if not (folder / "ham10000").exists():
        source = folder / "source"
        for name in ("images", "masks"):
            (source / name).mkdir(parents=True, exist_ok=True)
        for _ in in_order(lambda number: write_case(source, number), range(cases), 2):
            pass
        clock = time.perf_counter()
        prepare(load_card("ham10000"), source, folder)
        print(f"prepare: {time.perf_counter() - clock:.1f} s")
    return folder / "ham10000"


def measure(folder: Path, cases: int) -> bool:
    """Print the times; whether exactly the planted pairs were found."""
    place = prepared(folder, cases)
    clock, spent = time.perf_counter(), time.process_time()
    found = audit(place)
    total, spent = time.perf_counter() - clock, time.process_time() - spent
    print(f"audit of {cases} images: {total:.1f} s on 2 threads ({spent:.1f} s of processor time)")
    clock = time.perf_counter()
    prints, _ = fingerprint(place, read_records(place))
    print(f"  reading and shrinking: {time.perf_counter() - clock:.1f} s")
    clock = time.perf_counter()
    near_duplicates(prints)
    print(f"  pairs ({found.near.candidates} candidates): {time.perf_counter() - clock:.1f} s")
    planted = {(f"ISIC_{n - 1:07d}", f"ISIC_{n:07d}") for n in range(EVERY, cases, EVERY)}
    print(f"{len(found.near.pairs)} pairs found, {len(planted)} planted")
    return {(pair.first, pair.second) for pair in found.near.pairs} == planted


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10015)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.folder:
        sys.exit(0 if measure(given.folder, given.cases) else 1)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if measure(Path(folder), given.cases) else 1)


if __name__ == "__main__":
    main()
