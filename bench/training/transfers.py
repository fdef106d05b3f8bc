"""Many tensors to the device or from it, for one wait of the host at most."""

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes; every tensor of the buffer begins at a multiple, so that it can be read as its own type."""


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
    """Copies of the tensors on the CPU; the host waits once for all that lie on a GPU."""
    copies: dict[str, Tensor] = {}
    devices = {tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"}
    for name, tensor in tensors.items():
        if tensor.device in devices:
            copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            copies[name].copy_(tensor, non_blocking=True)
        else:
            copies[name] = tensor.detach().cpu().clone()
    for device in devices:
        torch.cuda.synchronize(device)
    return copies
