"""A backward pass without torch's engine, which asks the CUDA driver for the devices in use."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor


def backward(loss: Tensor) -> None:
    """Gradients of a scalar, as `loss.backward()` leaves them in `.grad`.

    Each node of the graph is called once, in this thread, after all nodes that give it a gradient.
    As in the engine, a gradient takes the dtype and shape of the input that it belongs to, and must
    lie on that input's device.
    """
    waiting = _uses(loss.grad_fn)
    given: dict[Any, list[Tensor | None]] = {loss.grad_fn: [torch.ones_like(loss)]}
    ready = [loss.grad_fn]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            grads = given.pop(node, [])
            for (below, number), grad in zip(
                node.next_functions, _called(node, grads), strict=True
            ):
                if below is None:
                    continue
                if grad is not None:
                    _add(given, below, number, grad)
                waiting[below] -= 1
                if not waiting[below]:
                    ready.append(below)


def _uses(root: Any) -> Counter[Any]:
    """How many gradients each node below `root` receives."""
    uses, stack = Counter[Any](), [root]
    while stack:
        for below, _ in stack.pop().next_functions:
            if below is not None:
                uses[below] += 1
                if uses[below] == 1:
                    stack.append(below)
    return uses


def _called(node: Any, grads: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients of what the node was computed from, None where there is none."""
    if all(grad is None for grad in grads):
        return (None,) * len(node.next_functions)
    out = node(*grads)
    if not node.next_functions:  # a leaf, which keeps its gradient
        return ()
    return out if isinstance(out, tuple) else (out,)


def _add(given: dict[Any, list[Tensor | None]], node: Any, number: int, grad: Tensor) -> None:
    inputs = node._input_metadata
    wanted = inputs[number]
    if grad.device != wanted.device:
        raise RuntimeError(f"a gradient for {wanted.device} lies on device {grad.device}")
    grad = grad.sum_to_size(wanted.shape).to(wanted.dtype)
    slots = given.setdefault(node, [None] * len(inputs))
    known = slots[number]
    slots[number] = grad if known is None else known + grad
