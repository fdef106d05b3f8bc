"""Weights, and nested state (weights, optimizer, counters), in safetensors files, without pickle.

Of nested state, tensors lie in the file under generated keys; everything else is JSON in the file's
header, with a placeholder where a tensor belongs. Written atomically.
"""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.core.errors import BenchError
from bench.core.files import atomic_path
from bench.training.transfers import download

_TENSOR = "__tensor__"


SHARE = 0.05
"""Of the time since the last checkpoint that writing one may take."""


class Pace:
    """When a checkpoint is due."""

    def __init__(self) -> None:
        self.cost = 0.0  # seconds that writing the last one took
        self.last = time.monotonic()

    def due(self, every: float) -> bool:
        """Whether more than `every` seconds passed since the last checkpoint, and so many that
        writing it took at most `SHARE` of them. every: 0 or less for one at each opportunity."""
        if every <= 0:
            return True
        return time.monotonic() - self.last > max(every, self.cost / SHARE)

    def write(self, path: Path, state: Any) -> None:
        """Write the state, and measure how long that takes."""
        started = time.monotonic()
        save_state(path, state)
        self.last = time.monotonic()
        self.cost = self.last - started


def save_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors to `path`. Large states on a CPU are not copied first.

    Raises OSError when the disk refuses.
    """
    there = {name: tensor for name, tensor in tensors.items() if tensor.device.type == "cuda"}
    alone = {name: _alone(tensor.detach()) for name, tensor in (tensors | download(there)).items()}
    with atomic_path(path) as temporary:
        try:
            save_file(alone, temporary, metadata)
        except SafetensorError as error:
            # The library tells the system's error by its text alone.
            found = re.search(r"(?:os error|code:) (\d+)", str(error))
            if found is None:
                raise
            number = int(found[1])
            raise OSError(number, os.strerror(number), str(path)) from error


def _alone(tensor: Tensor) -> Tensor:
    """Contiguous in a storage of its own, as the format wants it."""
    tensor = tensor.contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def save_state(path: Path, state: Any) -> None:
    """Write nested dicts and lists of tensors and JSON values; dict keys may be str or int."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_tensors(state, tensors)
    save_tensors(path, tensors, {"state": json.dumps(skeleton)})


def load_state(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `save_state` wrote. Raises BenchError when the file is damaged."""
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            skeleton = json.loads(file.metadata()["state"])
            return _put_tensors(skeleton, file.get_tensor)
    except Exception as error:
        raise BenchError(
            f"{path.name} cannot be read: {error}. It is damaged or no checkpoint of this harness; "
            "delete it and run the cell again."
        ) from error


def _take_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = str(len(tensors))
        tensors[key] = value
        return {_TENSOR: key}
    if isinstance(value, dict):
        pairs = [[key, _take_tensors(item, tensors)] for key, item in value.items()]
        return {"pairs": pairs}  # JSON would turn the optimizer's int keys into strings
    if isinstance(value, list | tuple):
        return [_take_tensors(item, tensors) for item in value]
    return value


def _put_tensors(value: Any, get: Any) -> Any:
    if isinstance(value, list):
        return [_put_tensors(item, get) for item in value]
    if isinstance(value, dict):
        if _TENSOR in value:
            return get(value[_TENSOR])
        return {key: _put_tensors(item, get) for key, item in value["pairs"]}
    return value
