"""The network of OpenAI's discrete VAE: 8,192 codes, 97,616,006 parameters.

Ramesh et al., "Zero-shot text-to-image generation", ICML 2021, arXiv:2102.12092, appendix A.
Encoder and decoder are four groups of two residual blocks each. Parameter names and shapes are
those of the released weights. Differs from the release: float32 on a GPU too, where the release
computes its inner convolutions in float16.
"""

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.tokenizers.base import FrozenTokenizer

EPS = 0.1  # of the logit-Laplace likelihood: pictures are squeezed into [0.1, 0.9]
GROUPS, BLOCKS = 4, 2  # of either network; blocks per group
GAIN = 1 / (GROUPS * BLOCKS) ** 2  # of every residual path: 1 / layers^2


class Conv(nn.Module):
    """A convolution of odd side that keeps the image size; its parameters are named `w` and `b`."""

    def __init__(self, channels_in: int, channels_out: int, side: int) -> None:
        super().__init__()
        spread = 1 / sqrt(channels_in * side**2)
        self.w = nn.Parameter(torch.empty(channels_out, channels_in, side, side).normal_(0, spread))
        self.b = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.w, self.b, padding=self.w.shape[-1] // 2)


class Block(nn.Module):
    """A bottleneck of four convolutions, whose sides are `sides`, beside an identity or 1x1 path."""

    def __init__(self, channels_in: int, channels_out: int, sides: tuple[int, ...]) -> None:
        super().__init__()
        inner = channels_out // 4
        widths = (channels_in, inner, inner, inner, channels_out)
        same = channels_in == channels_out
        self.id_path = nn.Identity() if same else Conv(channels_in, channels_out, 1)
        self.res_path = nn.Sequential()
        for i, side in enumerate(sides):
            self.res_path.add_module(f"relu_{i + 1}", nn.ReLU())
            self.res_path.add_module(f"conv_{i + 1}", Conv(widths[i], widths[i + 1], side))

    def forward(self, x: Tensor) -> Tensor:
        return self.id_path(x) + GAIN * self.res_path(x)


class Stack(nn.Module):
    """An input convolution, four groups of blocks with a change of size between them, an output.

    widths: channels after the input convolution and after each group. sides: of the convolutions
    in a block. resize: name and layer of the change of size.
    """

    def __init__(
        self,
        first: Conv,
        widths: tuple[int, ...],
        sides: tuple[int, ...],
        resize: tuple[str, nn.Module],
        channels_out: int,
    ) -> None:
        super().__init__()
        groups = [self._group(*pair, sides) for pair in pairwise(widths)]
        for group in groups[:-1]:
            group.add_module(*resize)
        named = {f"group_{i + 1}": group for i, group in enumerate(groups)}
        output = {"relu": nn.ReLU(), "conv": Conv(widths[-1], channels_out, 1)}
        ends = OrderedDict(input=first, **named, output=nn.Sequential(OrderedDict(output)))
        self.blocks = nn.Sequential(ends)

    @staticmethod
    def _group(channels_in: int, channels_out: int, sides: tuple[int, ...]) -> nn.Sequential:
        pairs = [(channels_in, channels_out)] + [(channels_out, channels_out)] * (BLOCKS - 1)
        named = {f"block_{i + 1}": Block(*pair, sides) for i, pair in enumerate(pairs)}
        return nn.Sequential(OrderedDict(named))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Encoder(Stack):
    """Logits (N, codes, H/8, W/8) of images (N, 3, H, W) squeezed into [EPS, 1 - EPS]."""

    def __init__(self, width: int = 256, codes: int = 8192) -> None:
        super().__init__(
            Conv(3, width, 7),
            widths=(width, width, 2 * width, 4 * width, 8 * width),
            sides=(3, 3, 3, 1),
            resize=("pool", nn.MaxPool2d(2)),
            channels_out=codes,
        )
        self.codes = codes


class Decoder(Stack):
    """Logits of mean and scale (N, 6, 8H, 8W), three channels each, of codes (N, codes, H, W)."""

    def __init__(self, width: int = 256, codes: int = 8192, first: int = 128) -> None:
        super().__init__(
            Conv(codes, first, 1),
            widths=(first, 8 * width, 4 * width, 2 * width, width),
            sides=(1, 3, 3, 3),
            resize=("upsample", nn.Upsample(scale_factor=2, mode="nearest")),
            channels_out=6,
        )


class DalleTokenizer(FrozenTokenizer):
    """Codes of pictures at 1/8 of their side, and pictures of codes.

    `encode` gives the codes as one-hot maps (N, 8192, H/8, W/8), `decode` takes such maps: this
    autoencoder has no other latents.
    """

    factor = 8

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.num_tokens = self.latent_channels = encoder.codes
        self.freeze()

    def encode(self, images: Tensor) -> Tensor:
        return self._one_hot(self.encode_tokens(images))

    def decode(self, latents: Tensor) -> Tensor:
        with full_precision(latents):
            mean = self.decoder(latents.float())[:, :3].sigmoid()
        return (mean - EPS) / (1 - 2 * EPS)

    def encode_tokens(self, images: Tensor) -> Tensor:
        with full_precision(images):
            return self.encoder(images.float() * (1 - 2 * EPS) + EPS).argmax(1)

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        return self.decode(self._one_hot(tokens))

    def _one_hot(self, tokens: Tensor) -> Tensor:
        assert self.num_tokens is not None
        return F.one_hot(tokens, self.num_tokens).permute(0, 3, 1, 2).float()


def full_precision(x: Tensor) -> AbstractContextManager:
    """No autocast on x's device: bfloat16 would confuse codes. The meta device has no autocast."""
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
