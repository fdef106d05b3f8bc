"""Cases that all differ, more of them than a batch or a shard holds, and a tokenizer that tells them
apart."""

import hashlib

import numpy as np
import torch

from bench.data.arrays import CaseArrays, NativeMasks

SIZE, CASES = 16, 20


class Summary(torch.nn.Module):
    """A tokenizer of factor 8 that no turn leaves alone: means weighted by place."""

    name, weights_hash = "summary", "ab" * 32
    latent_channels, factor, num_tokens = 3, 8, None

    def __init__(self, has_posterior: bool = False) -> None:
        super().__init__()
        self.has_posterior = has_posterior
        self.batches: list[int] = []
        self.weight = torch.nn.Parameter(torch.linspace(0.1, 2, 64).view(8, 8))

    def encode(self, images):
        self.batches.append(len(images))
        patches = images.unfold(2, 8, 8).unfold(3, 8, 8)
        return (patches * self.weight).mean((-1, -2))

    def posterior(self, images):
        """The SD is another one for every picture, as the mean is."""
        mean = self.encode(images)
        return mean, mean + 10

    def decode(self, latents):
        return latents.repeat_interleave(8, -1).repeat_interleave(8, -2)


def arrays(count: int = CASES, seed: int = 0) -> CaseArrays:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    masks = rng.random((count, SIZE, SIZE)) < 0.3
    hashes = [hashlib.sha256(i.tobytes() + m.tobytes()) for i, m in zip(images, masks, strict=True)]
    native = NativeMasks(np.zeros(0, np.uint8), np.zeros((0, 2), np.int64))
    ids = tuple(f"case{i}" for i in range(count))
    keys = tuple(h.hexdigest() for h in hashes)
    return CaseArrays("made-up", ids, ids, images, masks, native, keys, "content")
