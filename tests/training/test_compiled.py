"""What the record says about torch.compile is what ran."""

import shutil

import pytest
import torch
from torch import nn
from training_doubles import CPU, STEADY, batches_of, run_of, squares

from bench.core.errors import BenchError
from bench.method import Method
from bench.training import compiled
from bench.training.compiled import Compiled, compile_method, compiled_facts, compiled_footnotes
from bench.training.predict import probabilities
from bench.training.trainer import train


class Scaled(Method):
    """One weight on the image's mean over its colours."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self, batch):
        return {"loss": (self.predict(batch.images) - batch.masks).square().mean()}

    def predict(self, images):
        return (images.mean(1, keepdim=True) * self.weight).sigmoid()


class Split(Scaled):
    """Its prediction reads a value in the middle."""

    def predict(self, images):
        mean = images.mean(1, keepdim=True)
        torch._dynamo.graph_break()
        return (mean * self.weight).sigmoid()


class Uncompiled(Scaled):
    @torch.compiler.disable
    def predict(self, images):
        return super().predict(images)


class Repeating(Scaled):
    def predict_step(self, images):
        return images


@pytest.fixture
def without_code(monkeypatch):
    """Graphs are found and run as they are: no compiler is needed, and none is waited for."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    yield
    torch.compiler.reset()


def predicted(method: Method) -> torch.Tensor:
    return torch.cat(list(probabilities(method, squares(12).images, CPU, seed=0)))


def facts_of_predictions(method: Method) -> dict:
    compile_method(method)
    predicted(method)
    return compiled_facts(method)["predict"]


def test_each_shape_is_a_graph_and_each_call_runs_one(without_code):
    """12 images in batches of 8: two shapes."""
    facts = facts_of_predictions(Scaled())
    assert facts == {"calls": 2, "graphs": 2, "graphs_per_call": {"1": 2}}


def test_a_split_function_and_one_that_torch_leaves_alone_are_told_apart(without_code):
    split, left = facts_of_predictions(Split()), facts_of_predictions(Uncompiled())
    assert split["graphs_per_call"] == {"2": 2}
    assert left == {"calls": 2, "graphs": 0, "graphs_per_call": {"0": 2}}
    assert compiled_footnotes({"predict": split, "loss": left}) == (
        "torch.compile: of 2 calls of predict, 0 ran uncompiled and 2 in several graphs.",
        "torch.compile: of 2 calls of loss, 2 ran uncompiled and 0 in several graphs.",
    )
    assert compiled_footnotes({"predict": facts_of_predictions(Scaled())}) == ()


def test_the_tenth_network_of_a_process_is_still_compiled(without_code):
    """torch keeps eight versions of a function, and would run the rest as they are."""
    found = [facts_of_predictions(Scaled())["graphs_per_call"] for _ in range(10)]
    assert found == [{"1": 2}] * 10


def test_training_runs_the_compiled_loss_and_learns_the_same(without_code):
    plain, method = Scaled(), Scaled()
    compile_method(method)
    for one in (plain, method):
        train(one, batches_of(STEADY), run_of(STEADY))
    assert torch.allclose(plain.weight, method.weight, atol=1e-6)
    assert compiled_facts(method)["loss"]["graphs_per_call"] == {"1": 2}  # two steps
    assert method.state_dict().keys() == plain.state_dict().keys()


def test_a_prediction_that_repeats_a_step_is_left_alone(without_code):
    method = Repeating()
    compile_method(method)
    assert compiled_facts(method).keys() == {"loss"}


def test_what_cannot_be_compiled_says_how_to_go_on(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler found")

    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda name: broken)
    with pytest.raises(BenchError, match="Scaled.predict: .*Run without --compile"):
        Compiled(Scaled().predict)(torch.rand(1, 3, 4, 4))
    torch.compiler.reset()


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_compiled_code_predicts_the_same():
    method = Scaled()
    expected = predicted(method)
    compile_method(method)
    assert torch.allclose(predicted(method), expected, atol=1e-6)
    assert compiled_facts(method)["predict"]["graphs_per_call"] == {"1": 2}
