"""TAEF2's network. Apart from the spec, because listing tokenizers must not import torch."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.tokenizers.base import FrozenTokenizer, wide

WIDTH = 64


def conv(channels_in: int, channels_out: int, **options: bool | int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, **options)


class Block(nn.Module):
    """Three convolutions and a skip; `pooled` ones first add a branch through 256 channels."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH)
        )
        self.pool = None
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False),
                nn.GroupNorm(4, 4 * WIDTH),
                nn.ReLU(),
                nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """Keeps latents within +-3, softly."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def encoder(latent_channels: int) -> nn.Sequential:
    """Pictures in [0, 1] to latents: four stages of 1, 3, 3, 3 blocks, the last ones pooled."""
    layers: list[nn.Module] = [conv(3, WIDTH), Block()]
    for stage in range(3):
        layers += [conv(WIDTH, WIDTH, stride=2, bias=False)]
        layers += [Block(pooled=stage == 2) for _ in range(3)]
    return nn.Sequential(*layers, conv(WIDTH, latent_channels))


def decoder(latent_channels: int) -> nn.Sequential:
    """Latents to pictures: the encoder mirrored, with nearest-neighbour upsampling."""
    layers: list[nn.Module] = [Clamp(), conv(latent_channels, WIDTH), nn.ReLU()]
    for stage in range(3):
        layers += [Block(pooled=stage == 0) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), conv(WIDTH, WIDTH, bias=False)]
    return nn.Sequential(*layers, Block(), conv(WIDTH, 3))


class TAEF2(FrozenTokenizer):
    """Encoder and decoder, frozen."""

    factor = 8

    def __init__(self, latent_channels: int = 32) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.encoder, self.decoder = encoder(latent_channels), decoder(latent_channels)
        self.freeze()

    def encode(self, images: Tensor) -> Tensor:
        return wide(self.encoder(images))

    def decode(self, latents: Tensor) -> Tensor:
        return wide(self.decoder(latents))


def read_into(module: nn.Module, file: Path) -> None:
    """Load a safetensors file into `module`; BenchError when it is of another network."""
    try:
        module.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    except RuntimeError as error:
        raise BenchError(
            f"{file} does not hold TAEF2: {error}. Take the file of that name from its source."
        ) from error
