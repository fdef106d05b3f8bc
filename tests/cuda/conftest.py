"""A process without a GPU in which tensors may call themselves "cuda"."""

import ctypes
from pathlib import Path

import pytest
import torch

HAS_PRIMARY_CONTEXT = 4
"""Place in the table of virtual functions: two destructors, isBuilt, isAvailable, this one
(ATen/detail/AcceleratorHooksInterface.h)."""


def _autograd_without_context() -> list:
    """torch's backward pass asks each CUDA device whether it is in use, and stops where the driver
    is missing. From now on the answer is no. Gives what has to stay alive for it.

    Done when tests are collected: the threads of the backward pass are counted at the first one.
    """
    if torch.cuda.is_available() or torch.version.cuda is None:
        return []
    torch._C._ensureCUDADeviceGuardSet()
    library = ctypes.CDLL(str(Path(torch.__path__[0]) / "lib" / "libtorch_cpu.so"))
    library._ZN2at6detail12getCUDAHooksEv.restype = ctypes.c_void_p
    hooks = ctypes.c_void_p.from_address(library._ZN2at6detail12getCUDAHooksEv())
    original = hooks.value
    assert original is not None
    # Two words before the first function: the offset to the top and the type.
    words = (ctypes.c_void_p * 122).from_address(original - 2 * ctypes.sizeof(ctypes.c_void_p))
    table = (ctypes.c_void_p * 122)(*words)
    answer = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int8)(lambda *_: False)
    table[HAS_PRIMARY_CONTEXT + 2] = ctypes.cast(answer, ctypes.c_void_p).value
    hooks.value = ctypes.addressof(table) + 2 * ctypes.sizeof(ctypes.c_void_p)
    return [table, answer]


KEPT = _autograd_without_context()


@pytest.fixture
def pretended_cuda(monkeypatch):
    """Autocast and the backward pass accept tensors that call themselves "cuda"."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: torch must not be made to believe in another one")
    monkeypatch.setattr("torch.cuda._lazy_init", lambda: None)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
