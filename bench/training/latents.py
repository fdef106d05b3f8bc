"""Latents of a frozen tokenizer, encoded once per case and discrete view and kept on disk.

Encoders are not equivariant to flips and quarter turns, so each of the eight views is encoded and
none is made by turning the latents of another. A file holds a *shard*: a fixed group of
neighbouring cases in one view. Its content depends on nothing but the weights, those cases' pixels,
the view and which latents are asked for, and it is encoded in one batch, so whichever of several
processes writes it first, the bytes are the same; it appears by an atomic rename, never half.
Every file has a sha256 that is verified when it is opened; a damaged one is set aside and encoded
again.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Tokenizer
from bench.core.checksums import Damaged, discard, verify, write_sealed
from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.files import digest
from bench.data.arrays import CaseArrays
from bench.method import to_images
from bench.training.augment import VIEWS, apply_view
from bench.training.engine import tf32
from bench.training.transfers import Upload

VERSION = 2
"""Raised when the same tokenizer, pixels and view could give other files. 2: files carry checksums
and lie in a folder per kinds."""
SHARD = 16
"""Cases per file: HAM10000 in all views is 5,008 files; a batch of 16 encodes at full speed."""

KINDS = ("image", "mask")
"""What can be encoded of a case."""


@dataclass(frozen=True)
class Reading:
    """A batch's latents, as places in an `Upload`; None where it has no such samples.

    samples: of the batch. fresh, stored: indices of the samples to encode and of those that were
    read. rows: what was read, float32 (k, entries, C, h, w).
    """

    samples: int
    fresh: int | None
    stored: int | None
    rows: int | None


class LatentSource:
    """Latents of the cases of one `CaseArrays` under one tokenizer.

    cache_root: the folder that all cells share. precision: of what is encoded on the fly; what is
    stored is always computed in float32, not in TF32. kinds: which of `KINDS` the method reads; the
    others are neither encoded nor stored nor read. Sources of other kinds have files of their own,
    because the last digits of a latent may depend on what else was in its batch; so have sources on
    another class of device.
    Raises ValueError for an untrained tokenizer and for kinds that are empty or unknown.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        arrays: CaseArrays,
        cache_root: Path,
        device: torch.device,
        precision: str = "fp32",
        kinds: Sequence[str] = KINDS,
    ) -> None:
        if tokenizer.weights_hash == "untrained":
            raise ValueError("an untrained tokenizer has no weights hash to store latents under")
        if not kinds or not set(kinds) <= set(KINDS):
            raise ValueError(f"kinds {tuple(kinds)} are not one or more of {', '.join(KINDS)}")
        self.tokenizer, self.arrays, self.device = tokenizer, arrays, device
        self.precision = precision
        self.kinds = tuple(kind for kind in KINDS if kind in kinds)
        with_std = tokenizer.has_posterior and "image" in self.kinds
        # What lies along the second axis of a shard: "std" is the image posterior's.
        self.entries = (*self.kinds, "std") if with_std else self.kinds
        size = arrays.images.shape[1]
        weights = f"{tokenizer.weights_hash[:32]}-{size}px-v{VERSION}"
        # Convolutions of a GPU round another way than a CPU's: each has files of its own.
        computed_on = "" if device.type == "cpu" else f"-{device.type}"
        self.folder = cache_root / f"{weights}{computed_on}" / "+".join(self.kinds)
        side = size // tokenizer.factor
        self.shape = (len(self.entries), tokenizer.latent_channels, side, side)
        self.hits = self.misses = self.on_the_fly = 0
        self._open: dict[tuple[int, int], NDArray[np.float32]] = {}

    def counts(self) -> dict[str, int]:
        """Samples read from the cache, encoded into it, and encoded on the fly, so far."""
        return {"hits": self.hits, "misses": self.misses, "on_the_fly": self.on_the_fly}

    def read(self, cases: Tensor, views: Tensor, upload: Upload) -> Reading:
        """What `batch` will need: the stored latents of a batch go into `upload`.

        cases: int64 (N,), positions in the arrays. views: int64 (N,), the discrete view of each
        sample, or -1 where its picture was changed continuously. Both on the CPU.
        """
        fresh, stored = (views < 0).nonzero().flatten(), (views >= 0).nonzero().flatten()
        self.on_the_fly += len(fresh)
        rows = [
            self._row(int(case), int(view))
            for case, view in zip(cases[stored], views[stored], strict=True)
        ]
        return Reading(
            samples=len(cases),
            fresh=upload.add(fresh) if len(fresh) else None,
            stored=upload.add(stored) if rows else None,
            rows=upload.add(torch.from_numpy(np.stack(rows))) if rows else None,
        )

    def batch(
        self, images: Tensor, masks: Tensor, reading: Reading, sent: list[Tensor]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """(image latents, mask latents, image latents' SD), float32 (N, C, h, w) each; None for a
        kind that is not among `kinds`, and for the SD where the tokenizer has no posterior.

        images (N, 3, S, S) and masks (N, 1, S, S): the augmented batch on the device. reading: of
        `read`; sent: what its upload gave on the device. Samples whose picture was changed
        continuously are encoded here, images and masks in one batch. No gradient is recorded.
        """
        latents = torch.empty((reading.samples, *self.shape), device=self.device)
        if reading.fresh is not None:
            at = sent[reading.fresh]
            latents[at] = self._encode(images[at], masks[at], self.precision)
        if reading.stored is not None and reading.rows is not None:
            latents[sent[reading.stored]] = sent[reading.rows]
        found = dict(zip(self.entries, latents.unbind(1), strict=True))
        return found.get("image"), found.get("mask"), found.get("std")

    def images(self, cases: Iterable[int] | NDArray[np.int64], view: int = 0) -> Tensor:
        """Latents float32 (n, C, h, w), on the CPU, of the images of `cases` in one view.

        Raises ValueError where "image" is not among the source's kinds.
        """
        at = self.entries.index("image")
        rows = [self._row(int(case), view)[at] for case in cases]
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
        """The memory-mapped latents (cases of the shard, entries, C, h, w), encoded if missing or
        damaged."""
        if (start, view) not in self._open:
            self._open[start, view] = self._stored(self._path(start, view), start, view)
        return self._open[start, view]

    def _path(self, start: int, view: int) -> Path:
        cases = self.arrays.case_hashes[start : start + SHARD]
        return self.folder / f"view{view}" / f"{digest(list(cases))[:32]}.npy"

    def _stored(self, path: Path, start: int, view: int) -> NDArray[np.float32]:
        with disk_errors("store latents", path.parent):
            if path.exists():
                try:
                    return self._read(path, start)
                except Damaged as damage:
                    discard(path, damage)
            self._write(path, start, view)
        try:
            return self._read(path, start)
        except Damaged as damage:
            raise BenchError(
                f"{damage}, although it was just written. Check the disk of {path.parent}, or set "
                "GMS_BENCH_CACHE to a folder on another one."
            ) from damage

    def _write(self, path: Path, start: int, view: int) -> None:
        rows = slice(start, start + SHARD)
        pixels = torch.from_numpy(self.arrays.images[rows].copy()).to(self.device)
        images = to_images(pixels)
        masks = torch.from_numpy(self.arrays.masks[rows].copy()).to(self.device)
        with tf32("off"):
            latents = self._encode(
                apply_view(images, view), apply_view(masks[:, None].float(), view), "fp32"
            )
        content = io.BytesIO()
        np.save(content, latents.cpu().numpy())
        write_sealed(path, content.getvalue())
        self.misses += len(latents)

    def _read(self, path: Path, start: int) -> NDArray[np.float32]:
        expected = (min(SHARD, len(self.arrays.case_ids) - start), *self.shape)
        verify(path)
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, FileNotFoundError) as error:
            raise Damaged(f"{path} cannot be read ({error})") from error
        if stored.shape != expected or stored.dtype != np.float32:
            raise Damaged(f"{path} holds {stored.dtype} {stored.shape}, not float32 {expected}")
        return stored

    @torch.no_grad()
    def _encode(self, images: Tensor, masks: Tensor, precision: str) -> Tensor:
        """(N, entries, C, h, w) of images (N, 3, S, S) and masks (N, 1, S, S), in one batch."""
        inputs = {"image": images, "mask": masks.expand(-1, 3, -1, -1)}
        pictures = torch.cat([inputs[kind] for kind in self.kinds])
        bf16 = precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            if "std" in self.entries:
                mean, std = self.tokenizer.posterior(pictures)
                latents = [*mean.chunk(len(self.kinds)), std[: len(images)]]  # images come first
            else:
                latents = list(self.tokenizer.encode(pictures).chunk(len(self.kinds)))
        return torch.stack([latent.float() for latent in latents], dim=1)
