"""torch.compile for a method's loss and predictions, and what became of it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from bench.core.errors import BenchError
from bench.method import Method

BACKEND = "inductor"
COMPILED = ("loss", "predict", "predict_for_validation", "predict_latents")


class Compiled:
    """A function under torch.compile, with graphs of fixed shapes, and a count of what ran.

    graphs: compiled so far. per_call: number of compiled graphs that ran in a call -> calls. A whole
    function is one graph; it is several where torch.compile had to split it, and none where torch
    gave up and ran it as it is.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.graphs = 0
        self.per_call = Counter[int]()
        self._ran = 0
        self._compiled = torch.compile(function, backend=self._compile, dynamic=False)

    def _compile(self, graph: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        compiled = torch._dynamo.lookup_backend(BACKEND)(graph, inputs)
        self.graphs += 1

        def run(*args: Any) -> Any:
            self._ran += 1
            return compiled(*args)

        return run

    def __call__(self, *args: Any) -> Any:
        if torch.compiler.is_compiling():  # called by another compiled function, and part of it
            return self.function(*args)
        self._ran = 0
        try:
            out = self._compiled(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            what = str(error).strip().splitlines()[0]
            raise BenchError(
                f"torch.compile cannot compile {self.function.__qualname__}: {what}. Run without "
                "--compile."
            ) from error
        self.per_call[self._ran] += 1
        return out


def compile_method(method: Method) -> None:
    """Put the loss and the predictions of `method` under torch.compile, in place.

    What was compiled for other methods in this process is forgotten first: torch keeps few versions
    of a function, and runs it uncompiled beyond them. A prediction that repeats a step is left
    alone, because all its repetitions would be one graph.
    """
    torch.compiler.reset()
    for name in COMPILED:
        own = getattr(type(method), name) is not getattr(Method, name)
        if own and (name == "loss" or not method.repeats_a_step):
            setattr(method, name, Compiled(getattr(method, name)))


def compiled_facts(method: Method) -> dict[str, Any]:
    """Function -> {"calls", "graphs", "graphs_per_call": {number of graphs: calls}}, of what is
    under torch.compile."""
    return {
        name: {
            "calls": one.per_call.total(),
            "graphs": one.graphs,
            "graphs_per_call": {str(ran): calls for ran, calls in sorted(one.per_call.items())},
        }
        for name in COMPILED
        if isinstance(one := getattr(method, name), Compiled)
    }


def compiled_footnotes(facts: dict[str, Any]) -> tuple[str, ...]:
    """A remark for each function of `compiled_facts` that torch ran uncompiled or in pieces."""
    notes = []
    for name, fact in facts.items():
        whole, none = fact["graphs_per_call"].get("1", 0), fact["graphs_per_call"].get("0", 0)
        if whole < fact["calls"]:
            split = fact["calls"] - whole - none
            notes.append(
                f"torch.compile: of {fact['calls']} calls of {name}, {none} ran uncompiled and "
                f"{split} in several graphs."
            )
    return tuple(notes)
