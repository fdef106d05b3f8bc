"""How numbers are computed: device, precision and memory layout."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch


@contextmanager
def without_tf32() -> Iterator[None]:
    """Inside, a GPU computes float32 in float32; torch's default for convolutions is TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    allowed = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = allowed


@dataclass(frozen=True)
class Engine:
    """How numbers are computed: the device, autocast to bfloat16, memory layout, compilation."""

    device: torch.device
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    batch_size: int = 8  # of prediction

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
