"""Peak memory of a stretch of work, on the GPU or of this process."""

import ctypes
import resource
import sys
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def start_peak(device: torch.device) -> bool:
    """Begin a new peak. False where the system only knows the peak since the process started."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # glibc keeps what earlier work freed, which would count as this work's
    try:
        _RESET.write_text("5")  # Linux: the peak falls to what is resident now
    except OSError:
        return False
    return True


def peak_bytes(device: torch.device) -> int:
    """The most bytes since `start_peak`: allocated by torch on the GPU, resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        line = next(text for text in _STATUS.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
