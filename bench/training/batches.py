"""Training batches: cases that live on the device, drawn, augmented and encoded there."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Batch
from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays
from bench.method import to_images
from bench.recipes import Recipe
from bench.training.augment import augment, policy
from bench.training.latents import LatentSource
from bench.training.seeds import seed_for


class TrainingBatches:
    """The batches of one run: a pure function of (arrays, recipe, seed, epoch).

    Pixels stay uint8 on the device and become float batch by batch. Every epoch draws from its own
    generator, so a resumed run sees what an uninterrupted one would have seen.
    """

    def __init__(
        self,
        arrays: CaseArrays,
        cases: np.ndarray,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        latents: LatentSource | None,
    ) -> None:
        if recipe.batch_size > len(cases):
            raise BenchError(
                f"Recipe {recipe.name!r} takes batches of {recipe.batch_size}, but "
                f"{arrays.dataset} has only {len(cases)} training cases under this split. "
                "Set a smaller batch, e.g. --set recipe.batch_size=4."
            )
        self.cases = torch.from_numpy(cases)  # positions in `arrays`
        self.images = torch.from_numpy(np.ascontiguousarray(arrays.images[cases])).to(device)
        self.masks = torch.from_numpy(np.ascontiguousarray(arrays.masks[cases])).to(device)
        self.has_foreground = self.masks.flatten(1).any(1).cpu().nonzero().flatten()
        self.recipe, self.seed, self.latents = recipe, seed, latents
        self.policy = policy(recipe.augmentation)

    @property
    def steps(self) -> int:
        """Optimizer steps of one epoch."""
        if self.recipe.steps_per_epoch is not None:
            return self.recipe.steps_per_epoch
        full, rest = divmod(len(self.cases), self.recipe.batch_size)
        # One image alone has no batch statistics, so a last batch of one is always dropped.
        return full + (rest > 1 and not self.recipe.drop_last)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch (0-based)."""
        generator = torch.Generator().manual_seed(seed_for(self.seed, "batches", epoch))
        for chosen in self._draws(generator):
            yield self._batch(chosen, generator)

    def _draws(self, generator: torch.Generator) -> Iterator[Tensor]:
        size, n = self.recipe.batch_size, len(self.cases)
        rounds = math.ceil(self.steps * size / n) or 1
        order = torch.cat([torch.randperm(n, generator=generator) for _ in range(rounds)])
        forced = round(self.recipe.foreground_share * size)
        for step in range(self.steps):
            chosen = order[step * size : (step + 1) * size].clone()
            if forced and len(self.has_foreground):
                pick = torch.randint(len(self.has_foreground), (forced,), generator=generator)
                chosen[-forced:] = self.has_foreground[pick]
            yield chosen

    def _batch(self, chosen: Tensor, generator: torch.Generator) -> Batch:
        at = chosen.to(self.images.device)
        images = to_images(self.images[at])
        masks = self.masks[at].unsqueeze(1).float()
        images, masks, views = augment(images, masks, self.policy, generator)
        if self.latents is None:
            return Batch(images, masks)
        return Batch(images, masks, *self.latents.batch(images, masks, self.cases[chosen], views))
