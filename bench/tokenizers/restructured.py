"""Layers of frozen decoders in forms that cost less and give the same values up to rounding.

Nothing here trains, so kernels may be summed and multiplied once, when the weights are loaded:

- nearest-neighbour doubling followed by a 3x3 convolution is one transposed convolution with a 4x4
  kernel and stride 2. Every output pixel is a sum over 2x2 input pixels instead of 3x3 copies of
  them: 4/9 of the operations, and no enlarged map in between;
- the mean over a convolution's outputs is a convolution with the mean of its kernels;
- two 3x3 convolutions without anything between them need as many channels in between as the second
  one has kernel positions times outputs, 9 for a single output.

What is derived is kept in buffers outside the state dict: parameters stay those of the published
network, in name and in number. Kernels are summed in float64 and rounded once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SPREAD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Row k: which taps of a kernel of 3 make tap k of the transposed kernel of 4. Output pixel 2i takes
tap 0 from input pixel i - 1 (transposed tap 3) and taps 1 and 2 from i (transposed tap 1); pixel
2i + 1 takes taps 0 and 1 from i (2) and tap 2 from i + 1 (0)."""


class FixedConv(nn.Module):
    """A 3x3 convolution with padding 1 and derived weights: (N, I, H, W) to (N, O, H, W).

    weight: (O, I, 3, 3); bias: (O,) or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=1)


class DoublingConv(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution, in one: (N, I, H, W) to (N, O, 2H, 2W).

    conv: the convolution, of kernel 3, stride 1 and padding 1. It stays a part of the module, for
    its parameters' sake, and is not run.
    """

    kernel: Tensor

    def __init__(self, conv: nn.Conv2d | FixedConv) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("kernel", transposed(conv.weight.detach()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernel, self.conv.bias, stride=2, padding=1)


def transposed(weight: Tensor) -> Tensor:
    """The kernel (I, O, 4, 4) of `DoublingConv` from that of its convolution, (O, I, 3, 3)."""
    spread = weight.new_tensor(SPREAD, dtype=torch.float64)
    return torch.einsum("ay,oiyx,bx->ioab", spread, weight.double(), spread).to(weight.dtype)


def can_double(conv: nn.Module) -> bool:
    """Whether a module is a convolution that `DoublingConv` takes."""
    return isinstance(conv, nn.Conv2d) and (
        conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode
    ) == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")  # fmt: skip


def averaged(conv: nn.Conv2d) -> FixedConv:
    """The mean over the outputs of a 3x3 convolution: one output."""
    weight = conv.weight.detach().double().mean(0, keepdim=True)
    bias = None if conv.bias is None else conv.bias.detach().double().mean(0, keepdim=True)
    dtype = conv.weight.dtype
    return FixedConv(weight.to(dtype), None if bias is None else bias.to(dtype))


def joined(first: nn.Conv2d, last: FixedConv) -> tuple[FixedConv, FixedConv]:
    """Two convolutions that equal `last(first(x))`, with 9 channels in between.

    first: without a bias, (M, I, 3, 3). last: of one output, (1, M, 3, 3). Channel t of the first
    result is what position t of `last` reads; the second result adds them up, each shifted to its
    place. Borders agree too: as with the original pair, zeros surround what lies in between.
    """
    weight = torch.einsum(
        "mt,miyx->tiyx", last.weight.double().flatten(2)[0], first.weight.detach().double()
    )
    gather = torch.eye(9, dtype=weight.dtype, device=weight.device).view(1, 9, 3, 3)
    dtype = first.weight.dtype
    return FixedConv(weight.to(dtype), None), FixedConv(gather.to(dtype), last.bias)
