"""The tokenizers that the package knows by name. Torch-free: entry points of `bench.tokenizers`."""

from pathlib import Path
from typing import Any

from bench.tokenizers.embedded_training.recipes import TINY_KL, TINY_VQ, TokenizerRecipe
from bench.tokenizers.spec import TokenizerSpec

EMBEDDED = Path(__file__).resolve().parent / "embedded"
DIFFUSERS = "bench.tokenizers.loading:load_diffusers"

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


def _embedded(recipe: TokenizerRecipe, **facts: Any) -> TokenizerSpec:
    return TokenizerSpec(
        name=recipe.name,
        loader=DIFFUSERS,
        source=f"Trained by this project (`bench tokenizer train {recipe.name}`); in the package",
        latent_channels=4,
        factor=8,
        licence="Apache-2.0",
        folder=EMBEDDED / recipe.name,
        classes=(recipe.network,),
        config={"_class_name": recipe.network, **recipe.config},
        **facts,
    )


TINY_KL_SPEC = _embedded(
    TINY_KL,
    summary="Small continuous autoencoder (AutoencoderTiny) trained on procedural pictures",
    role="continuous",
    parameters=1_190_551,
)
TINY_VQ_SPEC = _embedded(
    TINY_VQ,
    summary="Small VQ-VAE (VQModel, 4,096 codes) trained on procedural pictures",
    role="discrete",
    parameters=1_656_799,
)
SD_VAE = TokenizerSpec(
    name="sd-vae",
    summary="Stable Diffusion 2's autoencoder (KL-f8, posterior's mean), the paper's tokenizer",
    role="continuous",
    loader=DIFFUSERS,
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
    loader=DIFFUSERS,
    source="A folder of yours, or a Hugging Face id, with a VQModel in diffusers' format",
    classes=("VQModel",),
)
TAESD = TokenizerSpec(
    name="taesd",
    summary="Tiny autoencoder distilled from Stable Diffusion's (AutoencoderTiny)",
    role="continuous",
    loader=DIFFUSERS,
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
    loader=DIFFUSERS,
    source="A folder of yours, or a Hugging Face id, in diffusers' format (a VQModel: vq@FOLDER)",
    classes=("AutoencoderKL", "AutoencoderTiny"),
)
DALLE = TokenizerSpec(
    name="dalle",
    summary="OpenAI's discrete VAE (8,192 codes), the tokenizer of GSS",
    role="discrete",
    loader="bench.tokenizers.dalle:load_dalle",
    latent_channels=8192,
    factor=8,
    parameters=97_616_006,
    licence="MIT, modified",
    source="encoder.pkl and decoder.pkl of OpenAI's DALL-E release, in one folder",
    wanted=("encoder.pkl", "decoder.pkl"),
)
