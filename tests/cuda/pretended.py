"""Tensors that hold values on the CPU and call themselves "cuda", and a count of the host's waits."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

CUDA = torch.device("cuda", 0)
ROOT = Path(__file__).resolve().parents[2]
aten = torch.ops.aten

WAITS = {
    aten._local_scalar_dense.default,  # float(), int(), bool(), item(), tolist()
    aten.nonzero.default,  # its size is known only on the device; indexing with a mask calls it
    aten.masked_select.default,
    aten._unique2.default,
    aten._linalg_check_errors.default,
    aten.equal.default,
    aten.is_nonzero.default,
}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXING |= {aten._index_put_impl_.default}


class Pretended(torch.Tensor):
    """A tensor that says it is on "cuda"; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> Self:
        out = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            layout=real.layout,
            device=CUDA,
            requires_grad=False,
        )
        out.held = real
        return out

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} outside of `pretending`")


def real(x: Any) -> Any:
    """The values behind a pretended tensor, and the CPU behind its device."""
    if isinstance(x, Pretended):
        return x.held
    if isinstance(x, torch.device) and x.type == "cuda":
        return torch.device("cpu")
    return x


class Pretending(TorchDispatchMode):
    """Runs operations of pretended tensors on the CPU; counts where the host would wait.

    waits: (file and line, operation) -> how often. A copy to the device that is asynchronous and out
    of page-locked memory is no wait; every other copy between devices is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        flat = _tensors((args, kwargs))
        here = [t for t in flat if isinstance(t, Pretended)]
        asked = kwargs.get("device")
        asked = None if asked is None else torch.device(asked).type
        there = asked == "cuda" or (bool(here) and asked is None)
        if self._waits(func, args, kwargs, here, flat, asked):
            self.waits[_place(), func.name()] += 1
        pinned = kwargs.pop("pin_memory", None)
        out = func(*tree_map(real, args), **tree_map(real, kwargs))
        if not there:
            if pinned:
                out.pinned = True
            return out
        return self._results(func, args, out)

    @staticmethod
    def _results(func, args, out):
        """Of an operation in place, its own argument, whose shape may have changed."""
        behind = {id(t.held): t for t in _tensors(args) if isinstance(t, Pretended)}

        def wrapped(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return behind[id(x)] if id(x) in behind else Pretended(x)

        return tree_map(wrapped, out)

    @staticmethod
    def _waits(func, args, kwargs, here, flat, asked) -> bool:
        if not here:
            crossing = asked == "cuda" and bool(flat)  # to the device
            pinned = bool(flat) and getattr(flat[0], "pinned", False)
            return crossing and not (pinned and kwargs.get("non_blocking"))
        if func in WAITS:
            return True
        if func in INDEXING:
            indices = [t for t in args[1] if t is not None]
            return any(t.dtype == torch.bool or not isinstance(t, Pretended) for t in indices)
        if asked == "cpu":
            return True
        if func is aten.copy_.default:
            to, source = args[:2]
            pinned = any(getattr(side, "pinned", False) for side in (to, source))
            apart = isinstance(to, Pretended) != isinstance(source, Pretended)
            return apart and not (pinned and _non_blocking(args, kwargs))
        return False


def _non_blocking(args, kwargs) -> bool:
    """`non_blocking` of a copy in place."""
    return bool(args[2] if len(args) > 2 else kwargs.get("non_blocking", False))


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) if isinstance(x, Tensor) else None, tree)
    return found


def _place() -> str:
    """The innermost line of the project that is at work."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and "tests" not in path.relative_to(ROOT).parts[:1]:
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


def send_weights(module: nn.Module, there: Callable[[Tensor], Tensor]) -> None:
    """Put there(tensor) in the place of every weight and buffer; `Module.to` knows only devices."""
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None:
                part._parameters[name] = nn.Parameter(there(p.detach()), p.requires_grad)
        for name, b in part._buffers.items():
            if b is not None:
                part._buffers[name] = there(b)


@contextmanager
def pretending() -> Iterator[Pretending]:
    """Inside, tensors may be made on and sent to "cuda". No operation is cuDNN's: the CPU has none."""
    own = torch.cuda.synchronize
    with Pretending() as mode, torch.backends.cudnn.flags(enabled=False):
        torch.cuda.synchronize = lambda *_: mode.waits.update([(_place(), "synchronize")])
        try:
            yield mode
        finally:
            torch.cuda.synchronize = own
