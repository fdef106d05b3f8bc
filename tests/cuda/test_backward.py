"""The backward pass of these tests gives the gradients of torch's own."""

import copy

import pytest
import torch
from backward import backward
from torch import nn


class Branching(nn.Module):
    """A weight that is used twice, views, several outputs of one node, and mixed precision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.unused = nn.Parameter(torch.rand(1))

    def forward(self, x):
        x = self.norm(self.conv(x))
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, left * right.sigmoid()], dim=1) * self.scale
        x[:, 0] = x[:, 1]
        first, *_ = x.unbind(1)
        return (x + self.scale.exp()).float().square().mean() + first.float().mean()


@pytest.mark.parametrize("bf16", [False, True])
def test_the_gradients_are_those_of_torch(bf16):
    torch.manual_seed(0)
    ours, x = Branching(), torch.rand(2, 3, 8, 8)
    theirs = copy.deepcopy(ours)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        losses = [network(x) for network in (ours, theirs)]
    backward(losses[0])
    losses[1].backward()
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (mine.grad is None) == (expected.grad is None)
        if expected.grad is not None:
            assert torch.allclose(mine.grad, expected.grad, rtol=1e-5, atol=1e-7)
    assert ours.unused.grad is None and ours.scale.grad is not None
