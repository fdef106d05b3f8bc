"""TAEF2 as a tokenizer of gms-bench: 8x down, 32 latent channels, 1.34 M + 1.34 M parameters.

A tiny autoencoder that approximates FLUX.2's (Ollin Boer Bohan, MIT,
https://github.com/madebyollin/taesd). Pictures and latents are plain: no [-1, 1], no scale.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.tokenizers.spec import TokenizerSpec

if TYPE_CHECKING:
    from bench.tokenizers.base import FrozenTokenizer


def load(
    spec: TokenizerSpec, files: Sequence[Path], location: str, weights: bool
) -> "FrozenTokenizer":
    """The frozen network, with the weights of (encoder file, decoder file) where wanted."""
    from gms_bench_taef2_network import TAEF2, read_into

    network = TAEF2(spec.latent_channels or 32)
    if weights:
        read_into(network.encoder, files[0])
        read_into(network.decoder, files[1])
    return network


SPEC = TokenizerSpec(
    name="taef2",
    summary="Tiny autoencoder that approximates FLUX.2's, 32 latent channels",
    role="continuous",
    loader=load,
    source="https://github.com/madebyollin/taesd",
    latent_channels=32,
    factor=8,
    parameters=2_677_027,
    licence="MIT",
    wanted=("taef2_encoder.safetensors", "taef2_decoder.safetensors"),
)
