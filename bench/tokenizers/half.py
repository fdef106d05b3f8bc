"""A frozen tokenizer's weights in bfloat16, rounded once instead of at every call."""

import copy
from typing import Any

import torch
from torch import Tensor

from bench.tokenizers.base import FrozenTokenizer


class HalfTokenizer(FrozenTokenizer):
    """A tokenizer that computes with bfloat16 weights where autocast is on, else with its own.

    Autocast keeps no rounded copy of weights that do not train: it rounds them anew at every call,
    and saves the copy for the backward pass. Here they are rounded once, and autocast is off inside.
    Stored latents are encoded without autocast, so they stay those of the full weights.

    The copy with rounded weights is no submodule: weights are counted and stored once.
    """

    def __init__(self, tokenizer: FrozenTokenizer) -> None:
        super().__init__()
        self.full = tokenizer
        self._half = [copy.deepcopy(tokenizer)]
        self._half[0].to_bfloat16()
        self.name, self.weights_hash = tokenizer.name, tokenizer.weights_hash
        self.latent_channels, self.factor = tokenizer.latent_channels, tokenizer.factor
        self.has_posterior, self.num_tokens = tokenizer.has_posterior, tokenizer.num_tokens
        self.freeze()

    def _apply(self, fn: Any, recurse: bool = True) -> "HalfTokenizer":
        """Moves the copy along, to another device or memory layout."""
        self._half[0]._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def encode(self, images: Tensor) -> Tensor:
        return self._call("encode", images)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self._call("posterior", images)

    def decode(self, latents: Tensor) -> Tensor:
        return self._call("decode", latents)

    def decode_mean(self, latents: Tensor) -> Tensor:
        return self._call("decode_mean", latents)

    def encode_tokens(self, images: Tensor) -> Tensor:
        return self._call("encode_tokens", images)

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        return self._call("decode_tokens", tokens)

    def _call(self, name: str, x: Tensor) -> Any:
        device = x.device.type
        if device == "meta" or not torch.is_autocast_enabled(device):
            return getattr(self.full, name)(x)
        with torch.autocast(device, enabled=False):
            return getattr(self._half[0], name)(x)
