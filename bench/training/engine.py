"""How numbers are computed: device, precision, memory layout and torch's settings."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from bench.protocols import TF32


@contextmanager
def tf32(allowed: TF32) -> Iterator[None]:
    """Inside, a GPU computes these float32 operations in TF32, and no others."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = allowed == "all", allowed != "off"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Inside, where `wanted`, torch raises RuntimeError for operations without a deterministic form.

    cuDNN's trial of its algorithms is off in either case: another run may find another one fastest.
    """
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    if wanted:  # cuBLAS reads it where it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    cudnn.deterministic, cudnn.benchmark = wanted, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]


def wait_for(device: torch.device) -> None:
    """Return once the device has done what it was asked for; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass(frozen=True)
class Engine:
    """How numbers are computed: the device, autocast to bfloat16, memory layout, compilation.

    tf32, deterministic: as in `Profile`; they hold inside `numerics`.
    """

    device: torch.device
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    batch_size: int = 8  # of prediction
    tf32: TF32 = "convolution"
    deterministic: bool = False

    @contextmanager
    def numerics(self) -> Iterator[None]:
        """Inside, torch's own settings are those of this engine."""
        with tf32(self.tf32), _deterministic(self.deterministic):
            yield

    @property
    def tf32_operations(self) -> list[str]:
        """What is computed in TF32 where float32 is asked for: nothing but on a GPU."""
        if self.device.type != "cuda":
            return []
        return {"off": [], "convolution": ["convolution"], "all": ["convolution", "matmul"]}[
            self.tf32
        ]

    def autocast(self) -> AbstractContextManager:
        """The autocast context of this precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def place(self, x):
        """A module or an image batch on the device and in the memory layout."""
        if self.channels_last:
            return x.to(self.device, memory_format=torch.channels_last)
        return x.to(self.device)
