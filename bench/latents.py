"""Latents of frozen tokenizers, computed once: a disk cache of the eight discrete views.

An encoder is not equivariant to flips and quarter turns, so each view of a picture is encoded on its
own; latents are never turned. Files are keyed by the weights, the cases' content, their size, the
kind and the view: every cell that asks for the same one shares it. A file is written whole and
renamed into place, so concurrent writers cannot harm each other; both would write the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from bench.arrays import CaseArrays
from bench.augment import apply_view
from bench.contracts import Tokenizer
from bench.files import digest, write_bytes

VERSION = 1
"""Raised whenever the same weights and pixels could give other latents."""

BATCH = 16  # pictures encoded at a time when a view is filled

Kind = Literal["image", "mask"]


@dataclass
class Counts:
    """What a cell took from the cache: pictures read, computed and stored, and encoded in passing
    because their augmentation was continuous."""

    hits: int = 0
    misses: int = 0
    on_the_fly: int = 0


def mask_images(masks: Tensor) -> Tensor:
    """Masks (N, 1, H, W) in {0, 1} as pictures (N, 3, H, W): three equal channels (as GMS does)."""
    return masks.expand(-1, 3, -1, -1)


class LatentBank:
    """Latents of some cases in each discrete view, filled a view at a time when first asked for.

    cases: positions in `arrays`, int64 (n,). Rows of what `view` returns follow their order.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        arrays: CaseArrays,
        cases: NDArray[np.int64],
        root: Path,
        device: torch.device,
    ) -> None:
        self.tokenizer, self.arrays, self.cases, self.device = tokenizer, arrays, cases, device
        content = digest([VERSION, [arrays.case_hashes[case] for case in cases]])
        size = arrays.images.shape[1]
        self.folder = root / tokenizer.weights_hash[:20] / f"{size}-{content[:20]}"
        self.counts = Counts()
        self._held: dict[tuple[Kind, int], dict[str, Tensor]] = {}

    def view(self, kind: Kind, view: int) -> dict[str, Tensor]:
        """{"mean": float32 (n, C, h, w)} of one view, and "std" of images with a posterior."""
        if (kind, view) not in self._held:
            self._held[kind, view] = self._load(kind, view)
        return self._held[kind, view]

    def _load(self, kind: Kind, view: int) -> dict[str, Tensor]:
        file = self.folder / f"{kind}-view{view}.safetensors"
        if file.is_file():
            self.counts.hits += len(self.cases)
        else:
            self.counts.misses += len(self.cases)
            write_bytes(file, save(self._encode_all(kind, view)))
        return load_file(file, device=str(self.device))

    def _encode_all(self, kind: Kind, view: int) -> dict[str, Tensor]:
        """Every case's latents of one view, on the CPU."""
        chunks = [
            self._encode(kind, view, self.cases[start : start + BATCH])
            for start in range(0, len(self.cases), BATCH)
        ]
        names = chunks[0].keys()
        return {n: torch.cat([chunk[n] for chunk in chunks]).cpu().contiguous() for n in names}

    def _encode(self, kind: Kind, view: int, cases: NDArray[np.int64]) -> dict[str, Tensor]:
        pixels = self.arrays.images[cases] if kind == "image" else self.arrays.masks[cases]
        raw = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
        if kind == "image":
            pictures = raw.permute(0, 3, 1, 2).float().div_(255)
        else:
            pictures = mask_images(raw.unsqueeze(1).float())
        with torch.no_grad():
            return encode(self.tokenizer, apply_view(pictures, view), kind)


def encode(tokenizer: Tokenizer, pictures: Tensor, kind: Kind) -> dict[str, Tensor]:
    """float32 "mean" of the pictures' latents, and "std" for images where there is a posterior."""
    if kind == "image" and tokenizer.has_posterior:
        mean, std = tokenizer.posterior(pictures)
        return {"mean": mean.float(), "std": std.float()}
    return {"mean": tokenizer.encode(pictures).float()}


class LatentSource:
    """The latents that go with training batches.

    A sample in a discrete view is looked up; one changed continuously (view -1) is encoded as it
    is, image and mask in one batch, without gradients.
    kinds: which latents the method reads; the others are None.
    """

    def __init__(self, bank: LatentBank, kinds: tuple[Kind, ...] = ("image", "mask")) -> None:
        self.bank, self.kinds = bank, kinds
        self._row = {int(case): row for row, case in enumerate(bank.cases)}

    def batch(
        self, images: Tensor, masks: Tensor, cases: Tensor, views: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """(image latents, mask latents, image latents' standard deviation) of a batch.

        images (N, 3, H, W) and masks (N, 1, H, W) as augmented; cases, views: int64 (N,), CPU.
        """
        rows = [self._row[case] for case in cases.tolist()]
        fresh = self._fresh(images, masks, (views < 0).nonzero().flatten())
        found: dict[Kind, list[dict[str, Tensor]]] = {kind: [] for kind in self.kinds}
        for position, (row, view) in enumerate(zip(rows, views.tolist(), strict=True)):
            for kind in self.kinds:
                found[kind].append(fresh(kind, position) if view < 0 else self._at(kind, row, view))
        image, mask = found.get("image"), found.get("mask")
        return _stack(image, "mean"), _stack(mask, "mean"), _stack(image, "std")

    def counts(self) -> dict[str, int]:
        """Pictures read from the cache, computed into it, and encoded in passing."""
        return vars(self.bank.counts)

    def _at(self, kind: Kind, row: int, view: int) -> dict[str, Tensor]:
        return {name: tensor[row] for name, tensor in self.bank.view(kind, view).items()}

    def _fresh(
        self, images: Tensor, masks: Tensor, at: Tensor
    ) -> Callable[[Kind, int], dict[str, Tensor]]:
        """Encode the samples `at`; returns a look-up by kind and position in the batch."""
        order = {int(position): row for row, position in enumerate(at)}
        parts = {}
        if len(at) and self.kinds:
            self.bank.counts.on_the_fly += len(at) * len(self.kinds)
            where = at.to(images.device)
            pictures = {"image": images[where], "mask": mask_images(masks[where])}
            with torch.no_grad():
                together = torch.cat([pictures[kind] for kind in self.kinds])
                both = encode(self.bank.tokenizer, together, self.kinds[0])
            for number, kind in enumerate(self.kinds):
                part = slice(number * len(at), (number + 1) * len(at))
                parts[kind] = {name: tensor[part] for name, tensor in both.items()}

        def look_up(kind: Kind, position: int) -> dict[str, Tensor]:
            return {name: tensor[order[position]] for name, tensor in parts[kind].items()}

        return look_up


def _stack(samples: list[dict[str, Tensor]] | None, name: str) -> Tensor | None:
    if not samples or name not in samples[0]:
        return None
    return torch.stack([sample[name] for sample in samples])
