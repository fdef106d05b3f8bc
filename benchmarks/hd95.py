"""CPU time per mask pair of our HD95 beside medpy's and MONAI's, in one run.

    python benchmarks/hd95.py [--pairs 40] [--masks FOLDER]

Ours gives both definitions from one computation; medpy gives the pooled one, MONAI the directed
one. FOLDER: real masks (*.png); each is paired with itself moved and thinned. The exit status is 1
if ours ever differs from medpy in a single bit.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from medpy.metric.binary import hd95 as medpy_hd95
from monai.metrics import compute_hausdorff_distance
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter

from bench.metrics.surface import Mask, hd95_pair

Pair = tuple[Mask, Mask]


def blobs(size: int, count: int, roughness: float) -> list[Pair]:
    """Pairs of smooth random masks, about 15 % foreground, that overlap in part."""
    rng = np.random.default_rng(0)
    sigma = size / roughness

    def pair() -> Pair:
        field = gaussian_filter(rng.standard_normal((size, size)), sigma)
        near = field + 0.5 * gaussian_filter(rng.standard_normal((size, size)), sigma)
        return near > np.quantile(near, 0.85), field > np.quantile(field, 0.85)

    return [pair() for _ in range(count)]


def real(folder: Path, count: int) -> list[Pair]:
    """Masks of `folder`, each with a copy moved by (3, -5) px and thinned by 2."""
    pairs = []
    for path in sorted(folder.glob("*.png"))[:count]:
        target = np.asarray(Image.open(path).convert("L")) > 127
        pred = binary_erosion(np.roll(target, (3, -5), axis=(0, 1)), iterations=2)
        if target.any() and pred.any():
            pairs.append((pred, target))
    return pairs


def monai_hd95(pred: Mask, target: Mask) -> float:
    """MONAI's larger directed percentile."""
    one, other = (torch.from_numpy(m)[None, None] for m in (pred, target))
    return float(compute_hausdorff_distance(one, other, include_background=True, percentile=95))


def milliseconds(score: Callable[[Mask, Mask], object], pairs: list[Pair]) -> float:
    """CPU time of the best of three passes, per pair; all three codes run in one thread."""
    passes = []
    for _ in range(3):
        start = time.process_time()
        for pred, target in pairs:
            score(pred, target)
        passes.append(time.process_time() - start)
    return 1e3 * min(passes) / len(pairs)


def main() -> int:
    """Print one line per kind of pair; 1 if a value differs from medpy's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--masks", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds = {
        f"{name} {size}": blobs(size, options.pairs, roughness)
        for size in (224, 512)
        for name, roughness in (("smooth", 12), ("ragged", 60))
    }
    if options.masks:
        kinds["real masks"] = real(options.masks, options.pairs)
    print(f"{'pairs':14s} {'ours':>8s} {'medpy':>8s} {'MONAI':>8s}   ms per pair   ratio to ours")
    same = True
    for name, pairs in kinds.items():
        ours, medpy, monai = (milliseconds(f, pairs) for f in (hd95_pair, medpy_hd95, monai_hd95))
        same &= all(hd95_pair(*pair)[0] == medpy_hd95(*pair) for pair in pairs)
        ratios = f"medpy {medpy / ours:.1f}x, MONAI {monai / ours:.1f}x"
        print(f"{name:14s} {ours:8.2f} {medpy:8.2f} {monai:8.2f}   {'':13s} {ratios}")
    print("every value equals medpy's to the last bit" if same else "VALUES DIFFER FROM MEDPY")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
