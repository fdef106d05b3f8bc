"""diffusers' autoencoders as tokenizers: AutoencoderKL, AutoencoderTiny and VQModel."""

from abc import abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.tokenizers.base import FrozenTokenizer, wide
from bench.tokenizers.restructured import DoublingConv, averaged, can_double, joined


class _Autoencoder(FrozenTokenizer):
    """What the three have in common: a decoder that ends in a convolution to three colours.

    Once restructured, that convolution stands apart from the decoder, beside one that gives the
    mean colour.
    """

    model: Any

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.colours: nn.Module = nn.Identity()
        self.mean_colour: nn.Module = MeanChannel()

    def restructure(self) -> None:
        decoder = self.model.decoder
        for block in decoder.up_blocks:
            layers = [_doubling(layer) for layer in block.upsamplers or ()]
            block.upsamplers = nn.ModuleList(layers) or None
        self.colours, self.mean_colour = decoder.conv_out, averaged(decoder.conv_out)
        decoder.conv_out = nn.Identity()
        self.freeze()  # new modules start in training mode

    def decode(self, latents: Tensor) -> Tensor:
        return self._in_unit(self.colours(self._before_colours(latents)))

    def decode_mean(self, latents: Tensor) -> Tensor:
        return self._in_unit(self.mean_colour(self._before_colours(latents)))

    @abstractmethod
    def _before_colours(self, latents: Tensor) -> Tensor:
        """What `colours` reads."""

    def _in_unit(self, decoded: Tensor) -> Tensor:
        """Decoded values, nominally in [-1, 1], as values in [0, 1]."""
        return (wide(decoded) + 1) / 2

    def _cast(self, x: Tensor) -> Tensor:
        """x in the type of the weights."""
        return x.to(next(self.model.decoder.parameters()).dtype)

    def _pictures(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the encoder takes them."""
        return self._cast(images * 2 - 1)


def _doubling(layer: Any) -> nn.Module:
    """`DoublingConv` for diffusers' Upsample2D where it doubles and convolves; others as they are."""
    plain = layer.use_conv and layer.interpolate and layer.norm is None
    return DoublingConv(layer.conv) if plain and can_double(layer.conv) else layer


class MeanChannel(nn.Module):
    """(N, C, H, W) to (N, 1, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


class KLTokenizer(_Autoencoder):
    """diffusers' AutoencoderKL; latents are the posterior's mean times `scaling_factor`."""

    has_posterior = True

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.latent_channels = model.config.latent_channels
        self.factor = 2 ** (len(model.config.block_out_channels) - 1)
        self.scale = float(model.config.scaling_factor)
        self.shift = float(model.config.shift_factor or 0.0)
        self.freeze()

    def encode(self, images: Tensor) -> Tensor:
        return self._scaled(self.model.encode(self._pictures(images)).latent_dist.mean)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model.encode(self._pictures(images)).latent_dist
        return self._scaled(found.mean), wide(found.std) * self.scale

    def _before_colours(self, latents: Tensor) -> Tensor:
        return self.model.decode(self._cast(latents / self.scale + self.shift)).sample

    def _scaled(self, latents: Tensor) -> Tensor:
        return (wide(latents) - self.shift) * self.scale


class TinyTokenizer(_Autoencoder):
    """diffusers' AutoencoderTiny (TAESD's layout)."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.layers: nn.Sequential = model.decoder.layers
        self.latent_channels = model.config.latent_channels
        self.factor = 2 ** (len(model.config.num_encoder_blocks) - 1)
        self.scale = float(model.config.scaling_factor)
        self.freeze()

    def restructure(self) -> None:
        *layers, conv_out = _with_doubling(list(self.layers))
        last = cast(nn.Conv2d, conv_out)
        self.colours, self.mean_colour = last, averaged(last)
        # Without blocks at full size, the last two convolutions follow each other directly.
        if isinstance(layers[-1], DoublingConv) and layers[-1].conv.bias is None:
            doubling = layers.pop()
            self.colours = nn.Sequential(doubling, last)
            first, second = joined(cast(nn.Conv2d, doubling.conv), averaged(last))
            self.mean_colour = nn.Sequential(DoublingConv(first), second)
        self.layers = nn.Sequential(*layers)
        self.freeze()  # new modules start in training mode

    def encode(self, images: Tensor) -> Tensor:
        return wide(self.model.encode(self._pictures(images)).latents) * self.scale

    def _before_colours(self, latents: Tensor) -> Tensor:
        # As DecoderTiny.forward begins; what it ends with, [0, 1] to [-1, 1], is not needed.
        return self.layers(3 * torch.tanh(self._cast(latents / self.scale) / 3))

    def _in_unit(self, decoded: Tensor) -> Tensor:
        return wide(decoded)


def _with_doubling(layers: list[nn.Module]) -> list[nn.Module]:
    """Layers in which `DoublingConv` stands for every doubling that a convolution follows."""
    found: list[nn.Module] = []
    for layer in layers:
        if found and _doubles(found[-1]) and can_double(layer):
            found[-1] = DoublingConv(cast(nn.Conv2d, layer))
        else:
            found.append(layer)
    return found


def _doubles(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Upsample)
        and layer.mode == "nearest"
        and float(cast(float, layer.scale_factor)) == 2
    )


class VQTokenizer(_Autoencoder):
    """diffusers' VQModel; latents are the embeddings of the nearest codes times `scaling_factor`.

    `decode` quantises with a straight-through gradient, so that predicted latents are decoded as
    codes and still learn.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.num_tokens, self.latent_channels = model.quantize.embedding.weight.shape
        self.factor = 2 ** (len(model.config.block_out_channels) - 1)
        self.scale = float(model.config.scaling_factor)
        self.freeze()

    def to_bfloat16(self) -> None:
        codes = self.model.quantize.embedding.weight.data.clone()
        super().to_bfloat16()
        self.model.quantize.embedding.weight.data = codes

    def encode(self, images: Tensor) -> Tensor:
        return self._embeddings(self.encode_tokens(images)) * self.scale

    def encode_tokens(self, images: Tensor) -> Tensor:
        return self._tokens(wide(self.model.encode(self._pictures(images)).latents))

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        return self._paint(self._embeddings(tokens))

    def _before_colours(self, latents: Tensor) -> Tensor:
        raw = wide(latents) / self.scale
        quantised = self._embeddings(self._tokens(raw.detach()))
        return self._painted(raw + (quantised - raw).detach())

    def _tokens(self, raw: Tensor) -> Tensor:
        # bfloat16 would confuse neighbouring codes, so distances are taken in full precision.
        with torch.autocast(raw.device.type, enabled=False):
            flat = raw.permute(0, 2, 3, 1).reshape(-1, self.latent_channels)
            index = nearest_code(flat, self.model.quantize.embedding.weight.to(flat.dtype))
        return index.view(raw.shape[0], *raw.shape[2:])

    def _embeddings(self, tokens: Tensor) -> Tensor:
        return wide(self.model.quantize.embedding(tokens)).permute(0, 3, 1, 2)

    def _paint(self, raw: Tensor) -> Tensor:
        return self._in_unit(self.colours(self._painted(raw)))

    def _painted(self, raw: Tensor) -> Tensor:
        # Not model.decode(): with some configs it would take `raw` for indices.
        raw = self._cast(raw)
        spatial = raw if self.model.config.norm_type == "spatial" else None
        return self.model.decoder(self.model.post_quant_conv(raw), spatial)


def nearest_code(latents: Tensor, codes: Tensor) -> Tensor:
    """Index int64 (T,) of the code (K, C) nearest to each latent (T, C)."""
    return torch.cdist(latents, codes).argmin(dim=1)


WRAPPERS: dict[str, type[FrozenTokenizer]] = {
    "AutoencoderKL": KLTokenizer,
    "AutoencoderTiny": TinyTokenizer,
    "VQModel": VQTokenizer,
}
