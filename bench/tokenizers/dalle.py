"""OpenAI's discrete VAE, the tokenizer of GSS, as a spec. Torch-free.

Ramesh et al., "Zero-shot text-to-image generation", ICML 2021, arXiv:2102.12092. The weights
(encoder.pkl, decoder.pkl) are under a modified MIT licence.
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
    """The dVAE with the weights of (encoder.pkl, decoder.pkl), or its architecture alone."""
    from bench.tokenizers.dalle_network import DalleTokenizer, Decoder, Encoder
    from bench.tokenizers.dalle_pickles import read_into

    encoder, decoder = Encoder(), Decoder()
    if weights:
        read_into(encoder, files[0])
        read_into(decoder, files[1])
    return DalleTokenizer(encoder, decoder)


DALLE = TokenizerSpec(
    name="dalle",
    summary="OpenAI's discrete VAE (8,192 codes), the tokenizer of GSS",
    role="discrete",
    loader=load,
    latent_channels=8192,
    factor=8,
    parameters=97_616_006,
    licence="MIT, modified",
    source="encoder.pkl and decoder.pkl of OpenAI's DALL-E release, in one folder",
    wanted=("encoder.pkl", "decoder.pkl"),
)
