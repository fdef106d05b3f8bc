"""How the embedded tokenizers are trained, as data; `builtin` has their architectures. Torch-free."""

from typing import Any, Literal

from pydantic import Field

from bench.core.errors import unknown_name
from bench.core.frozen import Frozen
from bench.tokenizers.builtin import TINY_KL_SPEC, TINY_VQ_SPEC
from bench.tokenizers.spec import TokenizerSpec


class TokenizerRecipe(Frozen):
    """One training of one small tokenizer; the loop in `train.py` reads nothing else.

    network, config: class of diffusers and its arguments.
    steps, warmup, decay: optimizer steps, those of the linear rise, and the share of all steps in
        which the rate falls linearly to 0. In between it is constant, so a run that is resumed
        with another number of steps equals one that had that number from the start.
    batches: (side in px, pictures = masks per step, share of the steps).
    latent_noise: SD of the Gaussian noise on the latents, which keeps the decoder smooth and the
        latents within what bfloat16 resolves; the continuous phase of a VQ model has it too.
    codebook_start: the step at which the codebook is fitted to the latents and quantisation
        starts; None for a continuous tokenizer.
    colour, colour_start: weight of the colour term and the step at which it sets in.
    probe, probe_start: likewise of the linear probe. Without it all channels code brightness,
        since masks and half of the pictures are grey: encoder and decoder each wait for the other
        to begin with colour. Once they have begun, the probe costs detail: `colour_stop` ends both.
    """

    name: str
    network: Literal["AutoencoderTiny", "VQModel"]
    config: dict[str, Any]
    steps: int = Field(gt=0)
    warmup: int = Field(default=200, ge=0)
    decay: float = Field(default=0.25, gt=0, le=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    grad_clip: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    batches: tuple[tuple[int, int, float], ...] = (
        (64, 8, 0.62),
        (96, 4, 0.20),
        (128, 2, 0.12),
        (224, 1, 0.06),
    )
    latent_noise: float = Field(default=0.04, ge=0)
    codebook_start: int | None = Field(default=None, ge=0)
    codebook_decay: float = Field(default=0.995, gt=0, lt=1)
    commitment: float = Field(default=0.25, ge=0)
    pyramid: float = Field(default=0.5, ge=0)  # weight of the Laplacian pyramid, pictures
    colour: float = Field(default=4.0, ge=0)  # weight of the colours of 8 px squares, pictures
    colour_start: int = Field(default=0, ge=0)
    probe: float = Field(default=4.0, ge=0)  # weight of reading colours linearly off the latents
    probe_start: int = Field(default=0, ge=0)
    colour_stop: int | None = Field(default=None, ge=0)  # of both
    mask_bce: float = Field(default=0.3, ge=0)
    mask_dice: float = Field(default=0.2, ge=0)
    pool_images: int = Field(default=3000, gt=0)
    pool_masks: int = Field(default=5400, gt=0)
    pool_size: int = Field(default=256, gt=0)
    log_every: int = Field(default=50, gt=0)
    check_every: int = Field(default=500, gt=0)
    save_every: int = Field(default=250, gt=0)

    def colours_count(self, start: int, step: int) -> bool:
        """Whether a term that sets in at `start` counts at `step`."""
        return start <= step and (self.colour_stop is None or step < self.colour_stop)


def _architecture(spec: TokenizerSpec) -> dict[str, Any]:
    """The spec's name, class and its arguments, as the fields of a recipe."""
    config = {key: value for key, value in spec.config.items() if key != "_class_name"}
    return {"name": spec.name, "network": spec.config["_class_name"], "config": config}


TINY_KL = TokenizerRecipe(
    **_architecture(TINY_KL_SPEC),
    steps=10400,
    colour_start=4000,
    probe_start=6000,
    colour_stop=8500,
)
TINY_VQ = TokenizerRecipe(
    **_architecture(TINY_VQ_SPEC),
    steps=3900,
    latent_noise=0.15,
    codebook_start=800,
    probe_start=1250,
)

RECIPES = {recipe.name: recipe for recipe in (TINY_KL, TINY_VQ)}


def tokenizer_recipe(name: str) -> TokenizerRecipe:
    """The recipe of an embedded tokenizer; BenchError for any other name."""
    if name not in RECIPES:
        raise unknown_name(
            "tokenizer that this package can train",
            name,
            RECIPES,
            "Others come with their weights: see `bench list tokenizers`.",
        )
    return RECIPES[name]
