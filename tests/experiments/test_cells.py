"""Requests and records of cells."""

import pytest

from bench.core.errors import BenchError
from bench.experiments.cells import CellRequest, TestSet, load_cell, merge_requests
from bench.protocols import get_profile, get_protocol

BUSI, UDIAT = TestSet(dataset="busi"), TestSet(dataset="udiat", subset="all")


def request(**changes):
    """unet on busi, scored on its test subset, with some fields changed."""
    fields = {
        "method": "unet",
        "train": "busi",
        "tests": (BUSI,),
        "seed": 0,
        "protocol": get_protocol("clean"),
        "profile": get_profile("smoke"),
    }
    return CellRequest(**fields | changes)


def test_requests_for_one_training_become_one_that_scores_all_their_test_sets():
    merged = merge_requests([request(), request(tests=(UDIAT, BUSI))])
    assert merged == [request(tests=(BUSI, UDIAT))]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "gms"},
        {"train": "udiat"},
        {"seed": 1},
        {"settings": {"base_channels": 8}},
        {"tokenizer": "tiny-kl"},
        {"recipe": {"lr": 0.1}},
        {"profile": get_profile("demo")},
        {"protocol": get_protocol("grouped")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_requests_that_differ_in_one_field_stay_two(change):
    both = [request(), request(**change)]
    assert merge_requests(both) == both


@pytest.mark.parametrize(
    "change, label",
    [
        ({}, "unet on busi, seed 0"),
        ({"tokenizer": "tiny-kl"}, "unet [tiny-kl] on busi, seed 0"),
        ({"settings": {"b": 2, "a": 1}, "seed": 3}, "unet [a=1, b=2] on busi, seed 3"),
    ],
)
def test_a_label_names_what_was_asked_for(change, label):
    assert request(**change).label == label


def test_a_test_set_is_labelled_by_dataset_and_subset():
    assert (BUSI.label, UDIAT.label) == ("busi-test", "udiat-all")


def test_only_format_1_is_refused_as_an_older_format(tmp_path):
    file = tmp_path / "cell.json"
    file.write_text('{"format": 1}')
    with pytest.raises(BenchError, match="stored no predictions"):
        load_cell(file)
    file.write_text('{"format": 3}')
    with pytest.raises(BenchError, match="no cell record of format 2"):
        load_cell(file)
