"""Tokenizers with untrained weights for tests of the generative methods."""

import torch
from diffusers import AutoencoderKL, VQModel
from torch import Tensor, nn

from bench.tokenizers.base import FrozenTokenizer
from bench.tokenizers.builtin import SD_VAE_CONFIG

SMALL_KL = SD_VAE_CONFIG | {
    "block_out_channels": (8, 8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
SMALL_VQ = {
    "_class_name": "VQModel",
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "num_vq_embeddings": 32,
    "vq_embed_dim": 4,
    "norm_num_groups": 4,
    "scaling_factor": 1.5,
}
SMALL_TINY = {
    "_class_name": "AutoencoderTiny",
    "encoder_block_out_channels": (8,) * 4,
    "decoder_block_out_channels": (8,) * 4,
    "num_encoder_blocks": (0, 1, 1, 1),
    "num_decoder_blocks": (1, 1, 1, 0),
    "scaling_factor": 0.7,
}
"""Configurations of diffusers' classes, as the built-in tokenizers are and at reduced width."""


class UntrainedKL(nn.Module):
    """A continuous tokenizer: diffusers' AutoencoderKL with random weights."""

    name, has_posterior, num_tokens, weights_hash = "untrained-kl", True, None, "untrained"
    scale = 0.18215

    def __init__(self, widths: tuple[int, ...], layers: int, latent_channels: int = 4) -> None:
        super().__init__()
        levels = len(widths)
        self.model = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=widths,
            layers_per_block=layers,
            latent_channels=latent_channels,
            norm_num_groups=min(32, widths[0]),
        ).requires_grad_(False)
        self.latent_channels, self.factor = latent_channels, 2 ** (levels - 1)

    def encode(self, images: Tensor) -> Tensor:
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.model.encode(images * 2 - 1).latent_dist
        return posterior.mean * self.scale, posterior.std * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        return (self.model.decode(latents / self.scale).sample + 1) / 2

    decode_mean = FrozenTokenizer.decode_mean


class UntrainedVQ(nn.Module):
    """A discrete tokenizer: diffusers' VQModel with random weights."""

    name, has_posterior, weights_hash = "untrained-vq", False, "untrained"

    def __init__(self, widths: tuple[int, ...], num_tokens: int, latent_channels: int = 4) -> None:
        super().__init__()
        levels = len(widths)
        self.model = VQModel(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=widths,
            latent_channels=latent_channels,
            num_vq_embeddings=num_tokens,
            norm_num_groups=min(32, widths[0]),
        ).requires_grad_(False)
        self.latent_channels, self.factor = latent_channels, 2 ** (levels - 1)
        self.num_tokens = num_tokens

    def encode_tokens(self, images: Tensor) -> Tensor:
        latents = self.model.encode(images * 2 - 1).latents
        tokens = self.model.quantize(latents)[2][2]
        return tokens.view(len(images), *latents.shape[2:])

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        shape = (*tokens.shape, self.latent_channels)
        codes = self.model.quantize.get_codebook_entry(tokens.flatten(), shape)
        return (self.model.decode(codes, force_not_quantize=True).sample + 1) / 2


def sd_vae() -> UntrainedKL:
    """The architecture of Stable Diffusion's VAE on the meta device."""
    with torch.device("meta"):
        return UntrainedKL((128, 256, 512, 512), layers=2)


def small_kl() -> UntrainedKL:
    """A continuous tokenizer of factor 8 that runs in milliseconds."""
    return UntrainedKL((8, 8, 8, 8), layers=1)
