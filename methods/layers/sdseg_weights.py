"""Pretrained weights of SDSeg's U-Net: CompVis latent-diffusion names onto diffusers' modules.

Both networks are built in the same order, so one walk pairs their layers. Released names read in
CompVis/latent-diffusion, `ldm/modules/diffusionmodules/openaimodel.py`.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.core.errors import BenchError

PREFIX = "model.diffusion_model."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a .safetensors or .ckpt file; nothing in it is executed.

    Raises BenchError when the file is missing or holds more than tensors and plain containers.
    """
    if not path.is_file():
        raise BenchError(
            f"No file {path} with pretrained weights. Give the path of a .safetensors or .ckpt "
            "file, or set pretrained=none."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise BenchError(
            f"{path.name} cannot be read as plain weights: {error}. If it is a checkpoint with "
            "training state, save its state_dict as .safetensors and give that file."
        ) from error
    return content.get("state_dict", content)


def layer_pairs(unet: Any) -> Iterator[tuple[nn.Module, str]]:
    """(a layer with weights, its released name) for every layer of a UNet2DModel."""
    for index, layer in ((0, "linear_1"), (2, "linear_2")):
        yield getattr(unet.time_embedding, layer), f"time_embed.{index}"
    yield unet.conv_in, "input_blocks.0.0"
    position = 1
    for block in unet.down_blocks:
        attentions = getattr(block, "attentions", [])
        for index, resnet in enumerate(block.resnets):
            yield from _residual(resnet, f"input_blocks.{position}.0")
            if attentions:
                yield from _attention(attentions[index], f"input_blocks.{position}.1")
            position += 1
        for down in block.downsamplers or ():
            yield from _residual(down, f"input_blocks.{position}.0")
            position += 1
    for index in (0, 1):
        yield from _residual(unet.mid_block.resnets[index], f"middle_block.{2 * index}")
    yield from _attention(unet.mid_block.attentions[0], "middle_block.1")
    position = 0
    for block in unet.up_blocks:
        attentions = getattr(block, "attentions", [])
        for index, resnet in enumerate(block.resnets):
            yield from _residual(resnet, f"output_blocks.{position}.0")
            if attentions:
                yield from _attention(attentions[index], f"output_blocks.{position}.1")
            position += 1
        for up in block.upsamplers or ():
            last = 2 if attentions else 1
            yield from _residual(up, f"output_blocks.{position - 1}.{last}")
    yield unet.conv_norm_out, "out.0"
    yield unet.conv_out, "out.2"


def _residual(block: Any, name: str) -> Iterator[tuple[nn.Module, str]]:
    parts = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    for ours, theirs in parts.items():
        layer = getattr(block, ours)
        if layer is not None:
            yield layer, f"{name}.{theirs}"


def _attention(block: Any, name: str) -> Iterator[tuple[nn.Module, str]]:
    yield block.group_norm, f"{name}.norm"
    yield block, f"{name}.qkv"
    yield block.to_out[0], f"{name}.proj_out"


def copy_released_unet(unet: Any, weights: dict[str, Tensor], origin: str) -> None:
    """Copy weights under released names, with or without `PREFIX`, into the U-Net.

    A first convolution over C channels fills the first C of 2C input channels and leaves the rest
    at 0, so that training starts without the condition. Raises BenchError naming the first layer
    that is missing or has another shape.
    """
    named = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    with torch.no_grad():
        for layer, name in layer_pairs(unet):
            if name.endswith(".qkv"):
                _copy_qkv(layer, name, named, origin)
                continue
            for part, own in layer.named_parameters():
                source = _take(named, f"{name}.{part}", origin)
                if (
                    layer is unet.conv_in
                    and part == "weight"
                    and 2 * source.shape[1] == own.shape[1]
                ):
                    source = torch.cat([source, torch.zeros_like(source)], dim=1)
                _copy(own, source, f"{name}.{part}", origin)


def _copy_qkv(block: Any, name: str, named: dict[str, Tensor], origin: str) -> None:
    """Queries, keys and values lie interleaved by head in one layer."""
    for part in ("weight", "bias"):
        source = _take(named, f"{name}.{part}", origin)
        grouped = source.flatten(1) if part == "weight" else source
        triples = grouped.unflatten(0, (block.heads, 3, -1))
        for index, own in enumerate((block.to_q, block.to_k, block.to_v)):
            _copy(getattr(own, part), triples[:, index].flatten(0, 1), f"{name}.{part}", origin)


def _take(named: dict[str, Tensor], name: str, origin: str) -> Tensor:
    if name not in named:
        raise BenchError(
            f"{origin} has no {name}: it is no latent diffusion U-Net under the released names. "
            "Give the LSUN-Churches-256 model of CompVis, or set pretrained=none."
        )
    return named[name]


def _copy(own: Tensor, source: Tensor, name: str, origin: str) -> None:
    if own.numel() != source.numel():
        raise BenchError(
            f"{origin}: {name} is {tuple(source.shape)}, the U-Net needs {tuple(own.shape)}. "
            "Use the default width with the released weights, or set pretrained=none."
        )
    own.copy_(source.reshape(own.shape))
