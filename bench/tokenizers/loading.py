"""Reads tokenizers in diffusers' classes from folders and single checkpoint files.

A checkpoint is either in diffusers' layout or in that of latent diffusion (Rombach et al. 2022),
bare or under `first_stage_model.`; the single file that the GMS authors give out is the latter.
"""

import pickle
import re
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.core.errors import BenchError
from bench.core.reading import parse_json, read_text
from bench.tokenizers.autoencoders import WRAPPERS
from bench.tokenizers.base import FrozenTokenizer
from bench.tokenizers.spec import CONFIG, TokenizerSpec

AGAIN = "Fetch it anew, or compare it with diffusers' documentation of its class."
PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")


def load_diffusers(
    spec: TokenizerSpec, files: Sequence[Path], location: str, weights: bool
) -> FrozenTokenizer:
    """The tokenizer of a folder in diffusers' format, or of a single checkpoint file."""
    config = _config(spec, files, location, weights)
    model = _build(spec, config, files)
    if weights:
        _fill(model, first_stage(read_tensors(files[-1]), config), files[-1])
    tokenizer = WRAPPERS[config["_class_name"]](model)
    if weights:
        tokenizer.restructure()
    return tokenizer


def _config(
    spec: TokenizerSpec, files: Sequence[Path], location: str, weights: bool
) -> dict[str, Any]:
    if not weights and spec.config:
        return spec.config
    # Without an architecture of its own, a spec takes it from the location's config.json.
    described = [file for file in (files or spec.files(location)) if file.name == CONFIG]
    if not described:
        return spec.config
    config = _read_config(described[0])
    if config.get("_class_name") not in spec.classes:
        raise BenchError(
            f"{described[0]} describes {config.get('_class_name')!r}; {spec.name} takes "
            f"{' or '.join(spec.classes)}. Name the tokenizer that fits: sd-vae or diffusers "
            "(AutoencoderKL), taesd or diffusers (AutoencoderTiny), vq (VQModel)."
        )
    return config


def _read_config(file: Path) -> dict[str, Any]:
    """A config.json; BenchError naming the file where it is damaged."""
    try:
        config = parse_json(read_text(file, "tokenizer's config"))
    except ValueError as error:
        raise BenchError(f"{file} is no JSON: {error}. {AGAIN}") from error
    if not isinstance(config, dict):
        raise BenchError(f"{file} holds a {type(config).__name__}, not an object. {AGAIN}")
    for key, value in config.items():
        sizes = value if isinstance(value, list) else [value]
        negative = [one for one in sizes if isinstance(one, int) and one < 0]
        if negative:
            raise BenchError(f"{file}: {key} is {value}; counts are 0 or more. {AGAIN}")
    scale = config.get("scaling_factor", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < inf:
        raise BenchError(f"{file}: scaling_factor is {scale!r}, not a positive number. {AGAIN}")
    return config


def _build(spec: TokenizerSpec, config: dict[str, Any], files: Sequence[Path]) -> Any:
    import diffusers

    try:
        return getattr(diffusers, config["_class_name"]).from_config(config)
    except Exception as error:  # the classes raise whatever their layers do
        named = files[0] if files else spec.name
        raise BenchError(
            f"{named} describes no {config['_class_name']} that diffusers {diffusers.__version__} "
            f"can build: {error!r}. Compare its config.json with diffusers' documentation."
        ) from error


def _fill(model: Any, state: dict[str, Tensor], file: Path) -> None:
    """Load `state` into `model`, every tensor or none; BenchError naming what does not fit."""
    expected = model.state_dict()
    lacking = sorted(expected.keys() - state.keys())
    foreign = sorted(state.keys() - expected.keys())
    shaped = [k for k in expected if k in state and expected[k].shape != state[k].shape]
    for what, names in (("lacks", lacking), ("also holds", foreign), ("shapes other", shaped)):
        if names:
            raise BenchError(
                f"{file} does not fit {type(model).__name__} as configured: it {what} "
                f"{len(names)} tensors, first {names[0]!r}. Give the file that belongs to this "
                "architecture, or a folder whose config.json describes it."
            )
    # diffusers halves what was stored halved; latents are computed in float32.
    model.load_state_dict({key: value.float() for key, value in state.items()})


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a pickled checkpoint; runs no code from the file.

    Raises BenchError when the file is damaged or holds more than tensors and plain containers.
    """
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise BenchError(
                f"{file} is no whole safetensors file: {error}. Fetch it anew."
            ) from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BenchError(
            f"{file} is refused: it is a pickle that holds more than tensors and plain containers, "
            "and unpickling it could run any code. Convert it to .safetensors where you trust it."
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise BenchError(f"{file} is no whole checkpoint: {error}. Fetch it anew.") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BenchError(f"{file} holds no tensors by name. Give a checkpoint with a state_dict.")
    return tensors


def first_stage(state: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """The autoencoder's tensors of a checkpoint under diffusers' names, whatever its layout."""
    if any(key.startswith("first_stage_model.") for key in state):
        prefix = "first_stage_model."
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if any(re.match(r"(encoder\.down|decoder\.up)\.\d", key) for key in state):
        levels = len(config["block_out_channels"])
        # Beside the autoencoder lie the discriminator and averaged copies it was trained with.
        kept = {k: v for k, v in state.items() if k.startswith(PARTS)}
        state = {from_latent_diffusion(key, levels): value for key, value in kept.items()}
    return dict(_current(key, value) for key, value in state.items())


LATENT_DIFFUSION = (
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.up_blocks.\1.resnets."),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
)
OLDER_DIFFUSERS = (
    (r"\.attentions\.(\d+)\.query\.", r".attentions.\1.to_q."),
    (r"\.attentions\.(\d+)\.key\.", r".attentions.\1.to_k."),
    (r"\.attentions\.(\d+)\.value\.", r".attentions.\1.to_v."),
    (r"\.attentions\.(\d+)\.proj_attn\.", r".attentions.\1.to_out.0."),
)


def from_latent_diffusion(key: str, levels: int) -> str:
    """diffusers' name of a tensor that latent diffusion calls `key`; `levels`: sizes of the image.

    latent diffusion counts the decoder's levels from the finest, diffusers from the coarsest.
    """
    for pattern, replacement in LATENT_DIFFUSION:
        key = re.sub(pattern, replacement, key)
    return re.sub(
        r"^decoder\.up_blocks\.(\d+)", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}", key
    )


def _current(key: str, value: Tensor) -> tuple[str, Tensor]:
    """Today's name and shape: older files call attention's projections otherwise, or keep them as
    1x1 convolutions."""
    for pattern, replacement in OLDER_DIFFUSERS:
        key = re.sub(pattern, replacement, key)
    if re.search(r"\.attentions\.\d+\.to_\w+(\.0)?\.weight$", key):
        value = value.reshape(value.shape[:2])
    return key, value
