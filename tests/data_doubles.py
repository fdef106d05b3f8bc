"""Tiny datasets in published layouts, for the tests of the data road."""

from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.cards import Card, load_card

SHARED = Path(__file__).parents[2] / "shared"


def picture(seed: int, width: int = 20, height: int = 16) -> Image.Image:
    """An RGB image that differs from case to case."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def square(left: int, top: int, side: int, width: int = 20, height: int = 16) -> Image.Image:
    """A grey mask with one white square."""
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + side, left : left + side] = 255
    return Image.fromarray(mask)


def make_busi(root: Path, benign: int = 4, malignant: int = 3, normal: int = 1) -> Path:
    """The publisher's folder; `benign (2)` has two masks with 9 and 4 pixels."""
    folder = root / "Dataset_BUSI_with_GT"
    for name, count in (("benign", benign), ("malignant", malignant), ("normal", normal)):
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            stem = folder / name / f"{name} ({number})"
            picture(number + 100 * len(name)).save(f"{stem}.png")
            square(2, 2, 0 if name == "normal" else 3).save(f"{stem}_mask.png")
    if benign > 1:
        square(10, 10, 2).save(folder / "benign" / "benign (2)_mask_1.png")
    return folder


def make_glas(root: Path, train: int = 6, test_a: int = 3, test_b: int = 2) -> Path:
    """The publisher's folder, with instance ids 1 and 2 and a Grade.csv with bare CR ends."""
    folder = root / "Warwick QU Dataset (Released 2016_07_08)"
    folder.mkdir(parents=True)
    rows = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    for part, count in (("train", train), ("testA", test_a), ("testB", test_b)):
        for number in range(1, count + 1):
            picture(number + 100 * len(part)).save(folder / f"{part}_{number}.bmp")
            ids = np.zeros((16, 20), np.uint8)
            ids[1:4, 1:5], ids[8:12, 8:12] = 1, 2
            Image.fromarray(ids).save(folder / f"{part}_{number}_anno.bmp")
            rows.append(f"{part}_{number},{number}, benign, healthy")
    (folder / "Grade.csv").write_bytes("\r".join(rows).encode())
    return folder


def busi() -> Card:
    """The shipped card of BUSI."""
    return load_card("busi")


def glas() -> Card:
    """The shipped card of GlaS."""
    return load_card("glas")


def tree(folder: Path) -> list[str]:
    """All paths below a folder, to see that nothing was left behind."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
