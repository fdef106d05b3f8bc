"""Training batches: cases that live on the device, drawn, augmented and encoded there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.contracts import Batch
from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays
from bench.method import to_images
from bench.recipes import Recipe
from bench.training.augment import Draw, change, draw, policy
from bench.training.latents import LatentSource, Reading
from bench.training.seeds import seed_for
from bench.training.transfers import Upload


@dataclass(frozen=True)
class _Plan:
    """One batch before it is made. at: place of its positions among the training cases in `sent`,
    the tensors of its upload on the device."""

    at: int
    drawn: Draw
    reading: Reading | None
    sent: list[Tensor]


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
        if recipe.drop_last and recipe.batch_size > len(cases):
            raise BenchError(
                f"Recipe {recipe.name!r} takes batches of {recipe.batch_size}, but "
                f"{arrays.dataset} has only {len(cases)} training cases under this split. "
                "Set a smaller batch, e.g. --set recipe.batch_size=4."
            )
        if recipe.masks != "nearest" and latents is not None and "mask" in latents.kinds:
            raise BenchError(
                f"recipe.masks is {recipe.masks!r}, but this method reads latents of masks, which "
                "are those of nearest-neighbour masks. Set recipe.masks=nearest."
            )
        self.cases = torch.from_numpy(cases)  # positions in `arrays`
        self.images = torch.from_numpy(np.ascontiguousarray(arrays.images[cases])).to(device)
        self.masks = torch.from_numpy(_masks(arrays, cases, recipe.masks)).to(device)
        self.has_foreground = self.masks.flatten(1).any(1).cpu().nonzero().flatten()
        self.recipe, self.seed, self.latents = recipe, seed, latents
        self.policy = policy(recipe.augmentation)
        self.shapes = None  # of the stored pictures, (n, 2), where the policy reads them
        if self.policy.move.native and len(arrays.native_masks):
            self.shapes = torch.from_numpy(arrays.native_masks.shapes[cases])

    @property
    def steps(self) -> int:
        """Optimizer steps of one epoch."""
        if self.recipe.steps_per_epoch is not None:
            return self.recipe.steps_per_epoch
        full, rest = divmod(len(self.cases), self.recipe.batch_size)
        return full + (rest > 0 and not self.recipe.drop_last)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch (0-based).

        A batch's draws and their upload come one batch ahead: while the device works on a step, the
        host prepares the next one.
        """
        generator = torch.Generator().manual_seed(seed_for(self.seed, "batches", epoch))
        planned = (self._plan(chosen, generator) for chosen in self._draws(generator))
        ahead = next(planned, None)
        while ahead is not None:
            now, ahead = ahead, next(planned, None)
            yield self._batch(now)

    def _draws(self, generator: torch.Generator) -> Iterator[Tensor]:
        for chosen in self._order(generator):
            forced = round(self.recipe.foreground_share * len(chosen))
            if forced and len(self.has_foreground):
                pick = torch.randint(len(self.has_foreground), (forced,), generator=generator)
                chosen[-forced:] = self.has_foreground[pick]
            yield chosen

    def _order(self, generator: torch.Generator) -> list[Tensor]:
        """Positions among the training cases, batch by batch, before foreground is forced."""
        size, n = self.recipe.batch_size, len(self.cases)
        if self.recipe.replacement:
            drawn = torch.randint(n, (self.steps * size,), generator=generator)
            return list(drawn.split(size))
        if self.recipe.drop_last:  # full batches, over the end of a pass where steps are fixed
            rounds = math.ceil(self.steps * size / n)
            order = torch.cat([torch.randperm(n, generator=generator) for _ in range(rounds)])
            return list(order.split(size))[: self.steps]
        batches: list[Tensor] = []
        while len(batches) < self.steps:
            batches += torch.randperm(n, generator=generator).split(size)
        return batches[: self.steps]

    def _plan(self, chosen: Tensor, generator: torch.Generator) -> _Plan:
        """Everything of a batch that the host decides, on its way to the device."""
        upload = Upload()
        at = upload.add(chosen)
        shapes = None if self.shapes is None else self.shapes[chosen]
        size = (self.masks.shape[1], self.masks.shape[2])
        drawn = draw(len(chosen), size, self.policy, generator, upload, shapes)
        reading = None
        if self.latents is not None:
            reading = self.latents.read(self.cases[chosen], drawn.views, upload)
        return _Plan(at, drawn, reading, upload.send(self.images.device))

    def _batch(self, plan: _Plan) -> Batch:
        at = plan.sent[plan.at]
        images = to_images(self.images[at])
        masks = self.masks[at].unsqueeze(1).float()
        if self.recipe.masks == "soft":
            masks = masks / 255
        images, masks = change(images, masks, plan.drawn, self.policy, plan.sent)
        if self.latents is None or plan.reading is None:
            return Batch(images, masks)
        return Batch(images, masks, *self.latents.batch(images, masks, plan.reading, plan.sent))


def _masks(arrays: CaseArrays, cases: np.ndarray, how: str) -> np.ndarray:
    """Masks at network size: bool (n, S, S), or uint8 in 0..255 where `how` is "soft".

    Bilinear interpolation is of the stored masks, without antialiasing.
    """
    if how == "nearest":
        return np.ascontiguousarray(arrays.masks[cases])
    side = arrays.masks.shape[1]
    resized = np.empty((len(cases), side, side), np.uint8)
    for row, case in enumerate(cases):
        native = torch.from_numpy(arrays.native_masks[int(case)]).float()[None, None]
        soft = F.interpolate(native, (side, side), mode="bilinear", align_corners=False)
        resized[row] = (soft[0, 0] * 255).round().byte().numpy()
    return resized if how == "soft" else resized > 0
