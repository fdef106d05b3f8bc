"""Cases and methods for the tests of training and prediction: small, and no two cases alike."""

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.arrays import CaseArrays, NativeMasks
from bench.data.pixels import pack
from bench.method import Method
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches
from bench.training.engine import Engine
from bench.training.trainer import TrainingRun

CPU = Engine(torch.device("cpu"))

STEADY = Recipe(
    name="steady", optimizer="sgd", momentum=0, weight_decay=0, lr=1.0, schedule="constant",
    epochs=1, steps_per_epoch=2, batch_size=4, augmentation="none", warmup=0,
)  # fmt: skip
"""Plain gradient descent at rate 1, two steps in its only epoch: an eye can follow the weights."""


def squares(n: int = 12, size: int = 16) -> CaseArrays:
    """Bright 6 px squares on noise, whose masks are the squares. Each case has a place, a group and
    a native size of its own (up to n = 20), so that a case taken for another is noticed."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 80, (n, size, size, 3), dtype=np.uint8)
    masks = np.zeros((n, size, size), dtype=bool)
    for number, mask in enumerate(masks):
        row, column = 2 * (number // 5), 2 * (number % 5)
        mask[row : row + 6, column : column + 6] = True
    images[masks] += 150
    ids = tuple(f"c{number}" for number in range(n))
    return CaseArrays(
        dataset="squares",
        case_ids=ids,
        groups=tuple(f"g{number}" for number in range(n)),
        images=images,
        masks=masks,
        native_masks=stored([enlarged(mask, number) for number, mask in enumerate(masks)]),
        case_hashes=ids,
        content_hash="squares",
    )


def stored(masks: list[np.ndarray]) -> NativeMasks:
    """Masks of sizes of their own, as a dataset's cache holds them."""
    shapes = np.array([mask.shape for mask in masks], np.int64)
    return NativeMasks(np.concatenate([pack(mask) for mask in masks]), shapes)


def enlarged(mask: np.ndarray, number: int) -> np.ndarray:
    """The mask at a native size that differs from case to case and is not square."""
    return mask.repeat(number % 4 + 1, axis=0).repeat(number % 3 + 1, axis=1)


class Walk(Method):
    """One weight that starts at 0 and, at rate 1, grows by 1 with every optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def loss(self, batch) -> dict[str, Tensor]:
        self.seen.append(batch.images.clone())
        return {"loss": -self.weight.sum()}


def batches_of(recipe: Recipe, cases: int = 8, seed: int = 0) -> TrainingBatches:
    """Batches of the first `cases` squares."""
    return TrainingBatches(
        squares(max(cases, 12)), np.arange(cases), recipe, seed, CPU.device, None
    )


def run_of(recipe: Recipe = STEADY, selection="last", **changes) -> TrainingRun:
    """A run without validation, unless `changes` bring some."""
    facts = {"validate": {}, "validate_every": 1, "seed": 0, "engine": CPU} | changes
    return TrainingRun(recipe=recipe, selection=selection, **facts)
