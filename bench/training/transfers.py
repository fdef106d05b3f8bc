"""Many tensors to the device without a wait of the host, and from it for few."""

from collections.abc import Iterator

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes; every tensor of the buffer begins at a multiple, so that it can be read as its own type."""
CHUNK = 64 * 2**20
"""Bytes of one copy from a GPU. It bounds the page-locked memory, and the packed copy that lies on
the GPU until it is sent."""


class Upload:
    """Tensors on the CPU that are collected and go to the device together.

    `add` gives each tensor its place in the list that `send` returns.
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def add(self, tensor: Tensor) -> int:
        """The place of `tensor`, which must be on the CPU, in what `send` returns."""
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def send(self, device: torch.device) -> list[Tensor]:
        """The tensors on `device`, in the order of `add`.

        On a GPU they arrive in one asynchronous copy out of page-locked memory, for which the host
        does not wait. On a CPU they are the collected tensors themselves.
        """
        if device.type == "cpu" or not self._tensors:
            return self._tensors
        starts, end = [], 0
        for tensor in self._tensors:
            starts.append(end)
            end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        packed = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        for start, tensor in zip(starts, self._tensors, strict=True):
            own = packed[start : start + tensor.nbytes].view(tensor.dtype)
            own.copy_(tensor.flatten())
        there = packed.to(device, non_blocking=True)
        return [
            there[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for start, tensor in zip(starts, self._tensors, strict=True)
        ]


def download(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors on the CPU.

    From a GPU they come packed: the host waits once for each `CHUNK` bytes.
    """
    copies = {n: t.detach().cpu().clone() for n, t in tensors.items() if t.device.type != "cuda"}
    for names in _chunks({n: t.nbytes for n, t in tensors.items() if t.device.type == "cuda"}):
        there = [tensors[name].detach().flatten().view(torch.uint8) for name in names]
        packed = torch.cat(there)
        here = torch.empty(len(packed), dtype=torch.uint8, pin_memory=True).copy_(packed)
        for name, part in zip(names, here.split([len(part) for part in there]), strict=True):
            own = tensors[name]
            copies[name] = part.clone().view(own.dtype).view(own.shape)  # in memory of its own
    return {name: copies[name] for name in tensors}


def _chunks(sizes: dict[str, int]) -> Iterator[list[str]]:
    """The names in groups of at most `CHUNK` bytes; a larger tensor is a group of its own."""
    names: list[str] = []
    total = 0
    for name, size in sizes.items():
        if names and total + size > CHUNK:
            yield names
            names, total = [], 0
        names.append(name)
        total += size
    if names:
        yield names
