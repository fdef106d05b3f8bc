"""Which arrays a cell trains on, chooses its epoch on, predicts from and is scored against."""

from types import SimpleNamespace

import pytest
import torch
from requests_of_tests import request

from bench.experiments.context import CellContext, built
from bench.experiments.resolve import resolve
from bench.tokenizers.half import HalfTokenizer
from bench.training.engine import Engine


class Recorder:
    """Sources that give back what they were asked for."""

    def arrays(self, dataset, size, resize="pillow"):
        return dataset, size, resize

    def split(self, dataset, protocol):
        return dataset, protocol.name


def context(**changes) -> CellContext:
    """A cell of 64 px on a network of 96 px, without its method."""
    cell = object.__new__(CellContext)
    cell.request = request(profile__image_size=64, **changes)
    cell.resolution = SimpleNamespace(network_size=96)
    cell.sources, cell.method, cell.tokenizer, cell.engine = Recorder(), None, None, None
    return cell


def test_the_network_and_the_selection_see_the_protocols_resize_and_test_scores_pillows_masks():
    cell = context(protocol__resize="opencv")
    assert cell.arrays("bus") == ("bus", 96, "opencv")
    assert cell.data.arrays == ("busi", 96, "opencv")
    assert cell.data.target == ("busi", 64, "opencv")
    assert cell.target("bus") == ("bus", 64, "pillow")


def test_by_default_all_are_pillows():
    cell = context()
    assert cell.data.arrays == cell.arrays("busi") == ("busi", 96, "pillow")
    assert cell.data.target == cell.target("busi") == ("busi", 64, "pillow")


@pytest.mark.parametrize(
    "precision, weights, rounded",
    [("bf16", "bf16", True), ("bf16", "fp32", False), ("fp32", "bf16", False)],
)
def test_a_profile_may_round_its_tokenizers(precision, weights, rounded):
    asked = request(method="gms", profile__precision=precision, profile__tokenizer_weights=weights)
    spec, settings, resolution = resolve(asked, 8)
    engine = Engine(torch.device("cpu"), precision)
    method, tokenizer = built(asked, spec, settings, resolution, engine)
    assert isinstance(tokenizer, HalfTokenizer) is rounded
    assert method.tokenizer is tokenizer
