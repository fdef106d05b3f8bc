"""Swin Transformer pieces of SwinUNet and SME-SwinUNet: stages, resampling, pretrained weights.

Blocks are timm's (Liu et al., "Swin Transformer", ICCV 2021; timm is Apache-2.0). Features are
channels-last: float (N, H, W, C).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from bench.core.errors import BenchError

IMAGENET_REPO = "timm/swin_tiny_patch4_window7_224.ms_in1k"
IMAGENET_FILE = "model.safetensors"
WINDOW = 7


class PatchMerge(nn.Module):
    """Halve the grid and double the channels: (N, H, W, C) to (N, H/2, W/2, 2C).

    Same arithmetic as timm's PatchMerging; written here because the originals register the linear
    layer before the norm, and weights are compared in that order.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        pixels = x.view(n, h // 2, 2, w // 2, 2, c)
        # Column before row within each 2 x 2 patch: the order of the pretrained weights.
        patches = pixels.permute(0, 1, 3, 4, 2, 5).reshape(n, h // 2, w // 2, 4 * c)
        return self.reduction(self.norm(patches))


class PatchExpand(nn.Module):
    """Enlarge the grid `factor` times: (N, H, W, C) to (N, factor H, factor W, out_channels).

    A bias-free linear layer makes the factor x factor pixels of every patch, row by row.
    """

    def __init__(self, channels: int, out_channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(channels, factor**2 * out_channels, bias=False)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, _ = x.shape
        f = self.factor
        pixels = self.expand(x).view(n, h, w, f, f, -1).permute(0, 1, 3, 2, 4, 5)
        return self.norm(pixels.reshape(n, f * h, f * w, -1))


class SwinStage(nn.Module):
    """Swin blocks at one resolution, every second one with shifted windows, then resampling.

    side: height and width of the grid; where one window covers it (7 x 7), timm drops the shift.
    drop_path: rate of each block, which also gives their number. resample: what follows the
    blocks, or None.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        heads: int,
        drop_path: Sequence[float],
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                SwinTransformerBlock(
                    channels,
                    input_resolution=(side, side),
                    num_heads=heads,
                    window_size=WINDOW,
                    shift_size=0 if index % 2 == 0 else WINDOW // 2,
                    drop_path=rate,
                )
                for index, rate in enumerate(drop_path)
            )
        )
        self.resample = nn.Identity() if resample is None else resample

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(self.blocks(x))


def init_linear(module: nn.Module) -> None:
    """Linear layers as in Swin: truncated normal of std 0.02, zero bias. For `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def load_pretrained(network: nn.Module, pretrained: str) -> None:
    """Copy Swin weights into a `methods.swin_unet.SwinUNet`, encoder and decoder alike.

    pretrained: "imagenet" (Swin-T, ImageNet-1k at 224, from the Hugging Face hub or its cache) or
    the path of a safetensors file in timm's layout. Every decoder stage takes the blocks of the
    encoder stage of its width; a deeper file (Swin-T has six blocks in its third stage) gives its
    first blocks. Expanding layers, concatenation linears, the last norm and the head keep their
    random values.
    Raises BenchError when the file is missing, cannot be fetched or does not fit.
    Source: HuCaoFighting/Swin-Unet@f48f623, networks/vision_transformer.py (load_from).
    """
    tensors, origin = read_pretrained(pretrained)
    state = network.state_dict()
    state.update({name: _fitting(tensors, state, name, origin) for name in _sources(state)})
    network.load_state_dict(state)


def read_pretrained(pretrained: str) -> tuple[dict[str, Tensor], str]:
    """(tensors by name, their origin in words) of Swin-T's ImageNet weights or a safetensors file.

    Raises BenchError when the file is missing, cannot be fetched or is of another format.
    """
    path, origin = _imagenet_file() if pretrained == "imagenet" else _local_file(pretrained)
    try:
        return load_file(path), origin
    except SafetensorError as error:
        raise BenchError(
            f"{origin} is not a safetensors file ({error}). Give a safetensors file in timm's "
            "layout, or set pretrained=none."
        ) from error


def _imagenet_file() -> tuple[Path, str]:
    origin = f"{IMAGENET_REPO}/{IMAGENET_FILE} (Hugging Face hub)"
    try:
        return Path(hf_hub_download(IMAGENET_REPO, IMAGENET_FILE)), origin
    except OSError as error:  # the hub's errors for no network, no such file and no access
        raise BenchError(
            f"Cannot fetch the ImageNet weights of Swin-T, {origin}: {error} Connect to the "
            "network once, give a local copy as pretrained=FILE.safetensors, or train from "
            "scratch with pretrained=none."
        ) from error


def _local_file(pretrained: str) -> tuple[Path, str]:
    path = Path(pretrained)
    if not path.is_file():
        raise BenchError(
            f"No file {pretrained} with pretrained Swin weights. pretrained is imagenet, none, or "
            "the path of a safetensors file in timm's layout."
        )
    return path, str(path)


def _sources(names: Mapping[str, Tensor]) -> dict[str, str]:
    """timm's name of each of the network's weights that is pretrained, by the network's name."""
    found = {name: _timm_name(name) for name in names}
    return {name: source for name, source in found.items() if source is not None}


def _timm_name(name: str) -> str | None:
    if name.startswith(("patch_embed.", "norm.")):
        return name
    if part := re.fullmatch(r"encoder\.(\d)\.blocks\.(.+)", name):
        return f"layers.{part[1]}.blocks.{part[2]}"
    if part := re.fullmatch(r"encoder\.(\d)\.resample\.(.+)", name):
        # timm keeps the merging at the start of the next stage, the originals at the end of this.
        return f"layers.{int(part[1]) + 1}.downsample.{part[2]}"
    if part := re.fullmatch(r"decoder\.(\d)\.blocks\.(.+)", name):
        return f"layers.{3 - int(part[1])}.blocks.{part[2]}"
    return None


def _fitting(
    tensors: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str, origin: str
) -> Tensor:
    source = _timm_name(name)
    assert source is not None
    wanted = tuple(state[name].shape)
    if source not in tensors:
        raise BenchError(
            f"{origin} has no tensor {source!r}, which {name} needs. Give a safetensors file in "
            "timm's layout (swin_tiny_patch4_window7_224), or set pretrained=none."
        )
    tensor = tensors[source]
    if tuple(tensor.shape) != wanted:
        raise BenchError(
            f"{source!r} in {origin} has shape {tuple(tensor.shape)}; this network needs {wanted}. "
            "Set embed_dim to the file's width (96 for Swin-T), or set pretrained=none."
        )
    return tensor.to(dtype=torch.float32)
