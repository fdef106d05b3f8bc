"""The built-in tokenizers in diffusers' classes, with their architectures. Torch-free."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.tokenizers.spec import TokenizerSpec

if TYPE_CHECKING:
    from bench.tokenizers.base import FrozenTokenizer

EMBEDDED = Path(__file__).resolve().parent / "embedded"


def load(
    spec: TokenizerSpec, files: Sequence[Path], location: str, weights: bool
) -> "FrozenTokenizer":
    """The tokenizer of a folder in diffusers' format, or of a single checkpoint file."""
    from bench.tokenizers.loading import load_diffusers

    return load_diffusers(spec, files, location, weights)


SD_VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}


TINY_KL_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderTiny",
    "encoder_block_out_channels": (48, 48, 48, 48),
    "decoder_block_out_channels": (48, 48, 48, 48),
    "num_encoder_blocks": (0, 1, 3, 4),  # none at full size: that is where the time goes
    "num_decoder_blocks": (4, 3, 2, 0),
    "latent_channels": 4,
}
"""TAESD's layout (Bohan 2023), narrower and without its full-size blocks."""

TINY_VQ_CONFIG: dict[str, Any] = {
    "_class_name": "VQModel",
    "block_out_channels": (16, 32, 64, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "num_vq_embeddings": 4096,
    "vq_embed_dim": 4,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
}
"""VQ-VAE (van den Oord et al. 2017) in the layout of latent diffusion's VQ-f8 (Rombach et al.
2022), without attention and an eighth as wide."""


def _embedded(name: str, config: dict[str, Any], **facts: Any) -> TokenizerSpec:
    return TokenizerSpec(
        name=name,
        loader=load,
        source=f"Trained by this project (`bench tokenizer train {name}`); in the package",
        latent_channels=config["latent_channels"],
        factor=8,
        licence="Apache-2.0",
        folder=EMBEDDED / name,
        classes=(config["_class_name"],),
        config=config,
        **facts,
    )


TINY_KL_SPEC = _embedded(
    "tiny-kl",
    TINY_KL_CONFIG,
    summary="Small continuous autoencoder (AutoencoderTiny) trained on procedural pictures",
    role="continuous",
    parameters=1_190_551,
)
TINY_VQ_SPEC = _embedded(
    "tiny-vq",
    TINY_VQ_CONFIG,
    summary="Small VQ-VAE (VQModel, 4,096 codes) trained on procedural pictures",
    role="discrete",
    parameters=1_656_799,
)
SD_VAE = TokenizerSpec(
    name="sd-vae",
    summary="Stable Diffusion 2's autoencoder (KL-f8, posterior's mean), the paper's tokenizer",
    role="continuous",
    loader=load,
    source=(
        "Hugging Face stabilityai/stable-diffusion-2, folder vae; or the GMS authors' "
        "768-v-ema-first-stage-VAE.ckpt"
    ),
    latent_channels=4,
    factor=8,
    parameters=83_653_863,
    licence="CreativeML Open RAIL++-M",
    hub="stabilityai/stable-diffusion-2/vae",
    single_file=True,
    config=SD_VAE_CONFIG,
    classes=("AutoencoderKL",),
)
VQ = TokenizerSpec(
    name="vq",
    summary="A VQ-VAE in diffusers' VQModel format; the paper does not say which one it took",
    role="discrete",
    loader=load,
    source="A folder of yours, or a Hugging Face id, with a VQModel in diffusers' format",
    classes=("VQModel",),
)
TAESD = TokenizerSpec(
    name="taesd",
    summary="Tiny autoencoder distilled from Stable Diffusion's (AutoencoderTiny)",
    role="continuous",
    loader=load,
    source="Hugging Face madebyollin/taesd",
    latent_channels=4,
    factor=8,
    parameters=2_445_063,
    licence="MIT",
    hub="madebyollin/taesd",
    config={"_class_name": "AutoencoderTiny"},
    classes=("AutoencoderTiny",),
)
ANY_DIFFUSERS = TokenizerSpec(
    name="diffusers",
    summary="Any AutoencoderKL or AutoencoderTiny on disk: diffusers@FOLDER",
    role="continuous",
    loader=load,
    source="A folder of yours, or a Hugging Face id, in diffusers' format (a VQModel: vq@FOLDER)",
    classes=("AutoencoderKL", "AutoencoderTiny"),
)
