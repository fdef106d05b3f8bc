"""A process without a GPU in which tensors may call themselves "cuda"."""

import pytest
import torch
from backward import backward
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

KNOWN = ("2.15",)
"""Versions of torch in which these tests run; another one may lack a part of what they replace."""


@pytest.fixture
def pretended_cuda(monkeypatch):
    """Autocast, optimizers and the backward pass accept tensors that call themselves "cuda"."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: torch must not be made to believe in another one")
    try:
        monkeypatch.setattr("torch.Tensor.backward", backward)
        monkeypatch.setattr("torch.cuda._lazy_init", lambda: None)
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *_, **__: True)
        monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        _try_a_step()
    except Exception as error:
        if torch.__version__.startswith(KNOWN):
            raise
        pytest.skip(f"torch {torch.__version__} does not run on tensors without values: {error}")


def _try_a_step() -> None:
    with FakeTensorMode():
        layer = nn.Linear(2, 1, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            loss = layer(torch.rand(3, 2, device="cuda")).float().mean()
        loss.backward()
        torch.optim.AdamW(layer.parameters()).step()
