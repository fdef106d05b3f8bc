"""diffusers' autoencoders as tokenizers: AutoencoderKL, AutoencoderTiny and VQModel."""

from typing import Any

import torch
from torch import Tensor

from bench.tokenizers.base import FrozenTokenizer, wide


class KLTokenizer(FrozenTokenizer):
    """diffusers' AutoencoderKL; latents are the posterior's mean times `scaling_factor`."""

    has_posterior = True

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.latent_channels = model.config.latent_channels
        self.factor = 2 ** (len(model.config.block_out_channels) - 1)
        self.scale = float(model.config.scaling_factor)
        self.shift = float(model.config.shift_factor or 0.0)
        self.freeze()

    def encode(self, images: Tensor) -> Tensor:
        return self._scaled(self.model.encode(images * 2 - 1).latent_dist.mean)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model.encode(images * 2 - 1).latent_dist
        return self._scaled(found.mean), wide(found.std) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        return (wide(self.model.decode(latents / self.scale + self.shift).sample) + 1) / 2

    def _scaled(self, latents: Tensor) -> Tensor:
        return (wide(latents) - self.shift) * self.scale


class TinyTokenizer(FrozenTokenizer):
    """diffusers' AutoencoderTiny (TAESD's layout)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.latent_channels = model.config.latent_channels
        self.factor = 2 ** (len(model.config.num_encoder_blocks) - 1)
        self.scale = float(model.config.scaling_factor)
        self.freeze()

    def encode(self, images: Tensor) -> Tensor:
        return wide(self.model.encode(images * 2 - 1).latents) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        return (wide(self.model.decode(latents / self.scale).sample) + 1) / 2


class VQTokenizer(FrozenTokenizer):
    """diffusers' VQModel; latents are the embeddings of the nearest codes times `scaling_factor`.

    `decode` quantises with a straight-through gradient, so that predicted latents are decoded as
    codes and still learn.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.num_tokens, self.latent_channels = model.quantize.embedding.weight.shape
        self.factor = 2 ** (len(model.config.block_out_channels) - 1)
        self.scale = float(model.config.scaling_factor)
        self.freeze()

    def encode(self, images: Tensor) -> Tensor:
        return self._embeddings(self.encode_tokens(images)) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        raw = wide(latents) / self.scale
        quantised = self._embeddings(self._tokens(raw.detach()))
        return self._paint(raw + (quantised - raw).detach())

    def encode_tokens(self, images: Tensor) -> Tensor:
        return self._tokens(wide(self.model.encode(images * 2 - 1).latents))

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        return self._paint(self._embeddings(tokens))

    def _tokens(self, raw: Tensor) -> Tensor:
        # bfloat16 would confuse neighbouring codes, so distances are taken in full precision.
        with torch.autocast(raw.device.type, enabled=False):
            flat = raw.permute(0, 2, 3, 1).reshape(-1, self.latent_channels)
            index = nearest_code(flat, self.model.quantize.embedding.weight.to(flat.dtype))
        return index.view(raw.shape[0], *raw.shape[2:])

    def _embeddings(self, tokens: Tensor) -> Tensor:
        return wide(self.model.quantize.embedding(tokens)).permute(0, 3, 1, 2)

    def _paint(self, raw: Tensor) -> Tensor:
        # Not model.decode(): with some configs it would take `raw` for indices.
        spatial = raw if self.model.config.norm_type == "spatial" else None
        return (wide(self.model.decoder(self.model.post_quant_conv(raw), spatial)) + 1) / 2


def nearest_code(latents: Tensor, codes: Tensor) -> Tensor:
    """Index int64 (T,) of the code (K, C) nearest to each latent (T, C)."""
    return torch.cdist(latents, codes).argmin(dim=1)


WRAPPERS: dict[str, type[FrozenTokenizer]] = {
    "AutoencoderKL": KLTokenizer,
    "AutoencoderTiny": TinyTokenizer,
    "VQModel": VQTokenizer,
}
