"""Latents of a frozen tokenizer, encoded once per case and discrete view and kept on disk.

Encoders are not equivariant to flips and quarter turns, so each of the eight views is encoded and
none is made by turning the latents of another. A file holds a *shard*: a fixed group of
neighbouring cases in one view. Its content depends on nothing but the weights, those cases' pixels
and the view, and it is encoded in one batch, so whichever of several processes writes it first, the
bytes are the same; it appears by an atomic rename, never half.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Tokenizer
from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.files import digest, write_with
from bench.data.arrays import CaseArrays
from bench.method import to_images
from bench.training.augment import VIEWS, apply_view

VERSION = 1
"""Raised when the same tokenizer, pixels and view could give other files."""
SHARD = 16
"""Cases per file: HAM10000 in all views is 5,008 files; a batch of 16 encodes at full speed."""

IMAGE, MASK, STD = range(3)  # what lies at each place of a shard's second axis


class LatentSource:
    """Latents of the cases of one `CaseArrays` under one tokenizer.

    cache_root: the folder that all cells share. precision: of what is encoded on the fly; what is
    stored is always computed in float32.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        arrays: CaseArrays,
        cache_root: Path,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        if tokenizer.weights_hash == "untrained":
            raise ValueError("an untrained tokenizer has no weights hash to store latents under")
        self.tokenizer, self.arrays, self.device = tokenizer, arrays, device
        self.precision = precision
        size = arrays.images.shape[1]
        self.folder = cache_root / f"{tokenizer.weights_hash[:32]}-{size}px-v{VERSION}"
        side = size // tokenizer.factor
        self.kinds = 3 if tokenizer.has_posterior else 2
        self.shape = (self.kinds, tokenizer.latent_channels, side, side)
        self.hits = self.misses = self.on_the_fly = 0
        self._open: dict[tuple[int, int], NDArray[np.float32]] = {}

    def counts(self) -> dict[str, int]:
        """Samples read from the cache, encoded into it, and encoded on the fly, so far."""
        return {"hits": self.hits, "misses": self.misses, "on_the_fly": self.on_the_fly}

    def batch(
        self, images: Tensor, masks: Tensor, cases: Tensor, views: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(image latents, mask latents, image latents' SD or None), float32 (N, C, h, w) each.

        images (N, 3, S, S) and masks (N, 1, S, S): the augmented batch on the device. cases: int64
        (N,), positions in the arrays. views: int64 (N,), the discrete view of each sample, or -1
        where its picture was changed continuously: such samples are encoded here, images and masks
        in one batch. No gradient is recorded.
        """
        found = torch.empty((len(cases), *self.shape), device=self.device)
        fresh = (views < 0).nonzero().flatten()
        if len(fresh):
            at = fresh.to(self.device)
            found[at] = self._encode(images[at], masks[at], self.precision)
            self.on_the_fly += len(fresh)
        stored = (views >= 0).nonzero().flatten()
        if len(stored):
            rows = [
                self._row(int(case), int(view))
                for case, view in zip(cases[stored], views[stored], strict=True)
            ]
            found[stored.to(self.device)] = torch.from_numpy(np.stack(rows)).to(self.device)
        std = found[:, STD] if self.kinds > STD else None
        return found[:, IMAGE], found[:, MASK], std

    def images(self, cases: Iterable[int] | NDArray[np.int64], view: int = 0) -> Tensor:
        """Latents float32 (n, C, h, w), on the CPU, of the images of `cases` in one view."""
        rows = [self._row(int(case), view)[IMAGE] for case in cases]
        return torch.from_numpy(np.stack(rows))

    def fill(
        self,
        views: Iterable[int] = range(VIEWS),
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        """Encode every case in `views` now. progress: called with (shards done, shards)."""
        shards = range(0, len(self.arrays.case_ids), SHARD)
        wanted = [(start, view) for view in views for start in shards]
        for done, (start, view) in enumerate(wanted, start=1):
            self._shard(start, view)
            progress(done, len(wanted))

    def _row(self, case: int, view: int) -> NDArray[np.float32]:
        start, encoded = case // SHARD * SHARD, self.misses
        shard = self._shard(start, view)
        self.hits += self.misses == encoded
        return shard[case - start]

    def _shard(self, start: int, view: int) -> NDArray[np.float32]:
        """The memory-mapped latents (cases of the shard, kinds, C, h, w), encoded if missing."""
        if (start, view) not in self._open:
            path = self._path(start, view)
            if not path.is_file():
                self._write(path, start, view)
            self._open[start, view] = self._read(path, start)
        return self._open[start, view]

    def _path(self, start: int, view: int) -> Path:
        cases = self.arrays.case_hashes[start : start + SHARD]
        return self.folder / f"view{view}" / f"{digest(list(cases))[:32]}.npy"

    def _write(self, path: Path, start: int, view: int) -> None:
        part = slice(start, start + SHARD)
        pixels = torch.from_numpy(self.arrays.images[part].copy()).to(self.device)
        images = to_images(pixels)
        masks = torch.from_numpy(self.arrays.masks[part].copy()).to(self.device)
        latents = self._encode(
            apply_view(images, view), apply_view(masks[:, None].float(), view), "fp32"
        )
        content = latents.cpu().numpy()
        with disk_errors("store latents", path.parent):
            write_with(path, lambda file: np.save(file, content))
        self.misses += len(content)

    def _read(self, path: Path, start: int) -> NDArray[np.float32]:
        expected = (min(SHARD, len(self.arrays.case_ids) - start), *self.shape)
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise BenchError(f"{path} is damaged ({error}). Delete it; it is made anew.") from error
        if stored.shape != expected or stored.dtype != np.float32:
            raise BenchError(
                f"{path} holds {stored.dtype} {stored.shape}, not float32 {expected}. Delete it; "
                "it is made anew."
            )
        return stored

    @torch.no_grad()
    def _encode(self, images: Tensor, masks: Tensor, precision: str) -> Tensor:
        """(N, kinds, C, h, w) of images (N, 3, S, S) and masks (N, 1, S, S), in one batch."""
        both = torch.cat([images, masks.expand(-1, 3, -1, -1)])
        bf16 = precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            if self.tokenizer.has_posterior:
                mean, std = self.tokenizer.posterior(both)
                parts = [*mean.chunk(2), std[: len(images)]]
            else:
                parts = list(self.tokenizer.encode(both).chunk(2))
        return torch.stack([part.float() for part in parts], dim=1)
