"""Requests and records of cells."""

import subprocess
import sys

import pandas as pd
import pytest
from records import cell, curve

from bench.core.errors import BenchError
from bench.experiments.cells import CellRequest, TestSet, load_cell, load_cells, merge_requests
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


def test_a_cell_reads_its_history_and_its_scores_from_its_folder(tmp_path):
    record = cell(tmp_path, history=curve())
    pd.testing.assert_frame_equal(record.history(), curve())
    assert record.scores("busi", "test")["dsc"].tolist() == [0.8] * 4
    assert record.has_scores("busi", "test") and not record.has_scores("busi", "all")


@pytest.mark.parametrize("then", ["changed", "removed"])
def test_a_history_that_is_not_the_stored_one_is_refused(tmp_path, then):
    record = cell(tmp_path, history=curve())
    file = record.folder / "history.parquet"
    file.write_bytes(b"other") if then == "changed" else file.unlink()
    with pytest.raises(BenchError, match="is missing or was changed since cell unet-busi"):
        record.history()


def test_cells_are_read_in_the_order_of_their_folders(tmp_path):
    written = [cell(tmp_path, seed=seed, train=train) for seed, train in ((1, "b"), (0, "a"))]
    read = load_cells(tmp_path)
    assert [record.id for record in read] == sorted(record.id for record in written)
    assert [record.folder for record in read] == [tmp_path / record.id for record in read]
    assert load_cells(tmp_path / "none") == []


def test_where_a_record_was_read_from_is_not_stored(tmp_path):
    record = cell(tmp_path)
    assert '"folder"' not in (record.folder / "cell.json").read_text()


def test_reading_records_needs_no_pandas():
    code = "import sys, bench.experiments.cells; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
