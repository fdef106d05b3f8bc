"""The base class of tokenizers: a frozen module, no gradient for weights, always in eval mode."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class FrozenTokenizer(nn.Module, ABC):
    """Base of every tokenizer: the contract `bench.contracts.Tokenizer` as a module.

    A subclass builds its layers, calls `freeze()`, and writes `encode` and `decode`; a discrete
    one sets `num_tokens` and writes the token methods as well.
    """

    name = ""
    weights_hash = "untrained"
    latent_channels: int
    factor: int
    has_posterior = False
    num_tokens: int | None = None

    def freeze(self) -> None:
        """No parameter learns, nothing changes with train()."""
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> "FrozenTokenizer":
        """Does nothing: a method that contains a tokenizer may call train() on all it holds."""
        return self

    def restructure(self) -> None:
        """Put layers into forms that cost less and decode alike up to rounding, where there are any.

        Called once, after the weights are in; a tokenizer that is only counted is left as published.
        """

    def to_bfloat16(self) -> None:
        """Round the weights to bfloat16; what must stay exact, such as a codebook, is left."""
        self.to(torch.bfloat16)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Scaled latents float32 (N, C, H/f, W/f) of images (N, 3, H, W) in [0, 1]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images float32 (N, 3, H, W), nominally in [0, 1]; differentiable in `latents`."""

    def decode_mean(self, latents: Tensor) -> Tensor:
        """The mean channel of `decode`, (N, 1, H, W)."""
        return self.decode(latents).mean(1, keepdim=True)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, standard deviation) of the latents, scaled as `encode`'s."""
        raise ValueError(f"tokenizer {self.name!r} has no posterior; see has_posterior")

    def encode_tokens(self, images: Tensor) -> Tensor:
        """Code indices int64 (N, H/f, W/f) of images (N, 3, H, W) in [0, 1]."""
        raise ValueError(f"tokenizer {self.name!r} is continuous and has no tokens")

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Images (N, 3, H, W) of code indices (N, H/f, W/f)."""
        raise ValueError(f"tokenizer {self.name!r} is continuous and has no tokens")


def wide(x: Tensor) -> Tensor:
    """float32, or float64 where that is given: latents and images are never handed on in bf16."""
    return x if x.dtype == torch.float64 else x.float()
