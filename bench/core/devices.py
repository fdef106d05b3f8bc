"""Names of the devices that compute."""

from typing import TYPE_CHECKING

from bench.core.provenance import processor

if TYPE_CHECKING:
    import torch


def device_name(device: "torch.device | str") -> str:
    """The model of a device, such as "NVIDIA H200"; the processor's for "cpu"."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return processor() or "CPU"
