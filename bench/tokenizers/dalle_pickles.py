"""Reads the released pickles of OpenAI's dVAE without its package and without running their code.

encoder.pkl and decoder.pkl hold whole modules. torch's restricted unpickler resolves the classes
they name to the containers below, which hold attributes and compute nothing.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError

NAMED = (
    "dall_e.encoder.Encoder",
    "dall_e.encoder.EncoderBlock",
    "dall_e.decoder.Decoder",
    "dall_e.decoder.DecoderBlock",
    "dall_e.utils.Conv2d",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.linear.Identity",
    "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.upsampling.Upsample",
)
AGAIN = "Download encoder.pkl and decoder.pkl again from OpenAI's release."


class Part:
    """The attributes of a pickled module."""


def _container(path: str) -> type[Part]:
    """A subclass of Part that the unpickler takes for the class at `path`."""
    module, _, name = path.rpartition(".")
    return type(name, (Part,), {"__module__": module, "__qualname__": name})


CONTAINERS = tuple(_container(path) for path in NAMED)


def read_into(network: nn.Module, file: Path) -> None:
    """Copy the weights of one released pickle into `network`, all of them.

    Raises BenchError when the file is damaged, names other classes or holds other weights.
    """
    try:
        network.load_state_dict(_read(file))
    except RuntimeError as error:
        raise BenchError(
            f"{file} holds other weights than OpenAI's dVAE: {error}. {AGAIN}"
        ) from error


def _read(file: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([*CONTAINERS, torch.device]):
            stored: Any = torch.load(file, map_location="cpu", weights_only=True)
        return stored if isinstance(stored, dict) else tensors_by_name(stored)
    except pickle.UnpicklingError as error:  # its text recommends to unpickle without restriction
        reason = "it holds more than the modules and tensors of the release, or is damaged"
        raise BenchError(f"{file} cannot be read as OpenAI's dVAE: {reason}. {AGAIN}") from error
    except (RuntimeError, EOFError, TypeError, KeyError) as error:
        raise BenchError(f"{file} cannot be read as OpenAI's dVAE: {error}. {AGAIN}") from error


def tensors_by_name(part: Any, prefix: str = "") -> dict[str, Tensor]:
    """The parameters of a pickled module and of those in it, as `state_dict` names them.

    Raises TypeError or KeyError for an object that is no module.
    """
    held = vars(part)
    found = {prefix + name: tensor for name, tensor in held["_parameters"].items()}
    for name, inner in held["_modules"].items():
        found |= tensors_by_name(inner, f"{prefix}{name}.")
    return found
