"""A method's own weights: what is stored, averaged and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.method import Method


def trainable(method: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes, each tensor once."""
    return [p for p in method.parameters() if p.requires_grad]


def own_state(method: Method) -> dict[str, Tensor]:
    """The method's weights and buffers without a frozen tokenizer's: what a cell stores.

    A tensor known by two names is stored under its first.
    """
    seen: set[int] = set()
    if isinstance(method.tokenizer, nn.Module):
        seen = {id(t) for t in method.tokenizer.state_dict(keep_vars=True).values()}
    state: dict[str, Tensor] = {}
    for name, tensor in method.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach()
    return state


def load_own_state(method: Method, state: dict[str, Tensor]) -> None:
    """Copy what `own_state` gave back into the method; names and shapes must agree."""
    current = own_state(method)
    if current.keys() != state.keys():
        odd = sorted(current.keys() ^ state.keys())[:3]
        raise BenchError(
            f"The stored weights are of another network: {odd} differ. The method's code or "
            "settings changed since; run the cell again."
        )
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(state[name])


class WeightAverage:
    """Exponential moving average of the parameters that train; where not `kept` it does nothing."""

    def __init__(self, method: Method, kept: bool) -> None:
        self.method, self.kept = method, kept
        self.average: dict[str, Tensor] = {}
        if kept:
            named = {n: p.detach() for n, p in method.named_parameters() if p.requires_grad}
            self.average = {n: p.clone() for n, p in named.items()}
            self._weights, self._averages = list(named.values()), list(self.average.values())

    def update(self, decay: float) -> None:
        """After an optimizer step: average = decay x average + (1 - decay) x weights."""
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """What is validated and stored: averaged weights where there are some, and buffers as they
        are now."""
        return own_state(self.method) | self.average

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The method with its averaged weights inside the block, and with its raw ones after it."""
        if not self.kept:
            yield
            return
        raw = {n: t.clone() for n, t in own_state(self.method).items()}
        load_own_state(self.method, self.state())
        try:
            yield
        finally:
            load_own_state(self.method, raw)

    def restore(self, stored: dict[str, Tensor]) -> None:
        """Continue from a stored `average`."""
        for name, tensor in self.average.items():
            tensor.copy_(stored[name])
