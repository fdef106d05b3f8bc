"""OpenAI's discrete VAE as a tokenizer, through its own package.

Ramesh et al., "Zero-shot text-to-image generation", ICML 2021, arXiv:2102.12092. Package `DALL-E`
and weights (encoder.pkl, decoder.pkl): modified MIT licence. 8192 codes, 97,616,006 parameters.
"""

import importlib.util
import pickle
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.tokenizers.frozen import FrozenTokenizer
from bench.tokenizers.spec import TokenizerSpec

EPS = 0.1  # of the logit-Laplace likelihood: pictures are squeezed into [0.1, 0.9]


class DalleTokenizer(FrozenTokenizer):
    """Codes of pictures at 1/8 of their side, and pictures of codes.

    `encode` gives the codes as one-hot maps (N, 8192, H/8, W/8), `decode` takes such maps: this
    autoencoder has no other latents.
    """

    factor = 8

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.num_tokens = self.latent_channels = int(encoder.vocab_size)  # type: ignore[arg-type]
        self.freeze()

    def encode(self, images: Tensor) -> Tensor:
        return self._one_hot(self.encode_tokens(images))

    def decode(self, latents: Tensor) -> Tensor:
        with full_precision(latents):
            mean = self.decoder(latents.float())[:, :3].float().sigmoid()
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


def load_dalle(
    spec: TokenizerSpec, files: Sequence[Path], location: str, weights: bool
) -> DalleTokenizer:
    """The dVAE with the weights of its two pickles, or its architecture alone."""
    package = _package()
    device = torch.get_default_device()  # "meta" when only shapes matter
    parts = [kind(device=device) for kind in (package.Encoder, package.Decoder)]
    if weights:
        for part, file in zip(parts, files, strict=True):
            _fill(part, file)
    return DalleTokenizer(*parts)


def _package() -> ModuleType:
    if importlib.util.find_spec("dall_e") is None:
        raise BenchError(
            "Tokenizer 'dalle' needs OpenAI's package DALL-E. Install it with "
            "`python -m pip install 'gms-bench[dalle]'`, or use another discrete tokenizer: "
            "--tokenizer tiny-vq or vq@LOCATION."
        )
    import dall_e

    return dall_e


def _fill(part: nn.Module, file: Path) -> None:
    """Copy the weights of one released pickle, a whole module, into `part`.

    The pickle names classes of the package and of torch; only those are unpickled.
    """
    try:
        with torch.serialization.safe_globals(_classes()):
            stored: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise BenchError(
            f"{file} cannot be read as OpenAI's dVAE: {error}. Download encoder.pkl and decoder.pkl "
            "again from its release."
        ) from error
    state = stored if isinstance(stored, dict) else stored.state_dict()
    try:
        part.load_state_dict(state)
    except RuntimeError as error:
        raise BenchError(f"{file} holds other weights than OpenAI's dVAE: {error}.") from error


def _classes() -> list[Any]:
    from dall_e.decoder import Decoder, DecoderBlock
    from dall_e.encoder import Encoder, EncoderBlock
    from dall_e.utils import Conv2d

    own = [Encoder, EncoderBlock, Decoder, DecoderBlock, Conv2d]
    plain = [nn.Sequential, nn.ReLU, nn.Identity, nn.MaxPool2d, nn.Upsample, torch.device]
    return [*own, *plain]
