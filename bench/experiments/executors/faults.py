"""Which errors of a training are its device's: too little memory, or a device that is lost.

After most CUDA errors a process can use its GPU no more: every later call fails with the same
error (CUDA C++ Programming Guide, "sticky" errors). Too little memory is another matter: what was
held is free again.
"""

import sys
from typing import Any, Literal

_MEMORY = ("CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
_DEVICE = ("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS_", "NCCL error")


def fault_of(error: BaseException) -> Literal["", "memory", "device"]:
    """What an error, or one that it came from, says about the device; "" for any other error."""
    seen: BaseException | None = error
    while seen is not None:
        found = _fault(seen)
        if found:
            return found
        seen = seen.__cause__ or seen.__context__
    return ""


def _fault(error: BaseException) -> Literal["", "memory", "device"]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return ""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _MEMORY):
        return "memory"
    lost = getattr(torch, "AcceleratorError", None)  # torch >= 2.8
    if (lost and isinstance(error, lost)) or any(words in text for words in _DEVICE):
        return "device"
    return ""


def crowded(device: str) -> str:
    """Why a job is done again after its device had too little memory for it."""
    return (
        f"Too little memory on {device}. It runs again from its stored state, alone there, after the "
        "others; with --jobs 1 every cell runs alone."
    )


def too_large(message: str, device: str) -> str:
    """The message of a job that was alone on its device and had too little memory."""
    return (
        f"{message.rstrip('. ')}. It was alone on {device}. Use a smaller batch (--set "
        "recipe.batch_size=N) or a smaller --image-size; other programs on the device count, too."
    )
