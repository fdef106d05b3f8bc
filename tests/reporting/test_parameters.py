"""The parameter table's columns: exact counts, the printed number, and ours minus it."""

from dataclasses import FrozenInstanceError

import pytest
from records import cell
from requests_of_tests import request

from bench.experiments.cells import load_cells
from bench.reporting.published import load_edition
from bench.reporting.tables.parameters import parameter_entries, parameter_headers
from bench.reporting.tables.rows import Missing, Row
from bench.reporting.tables.table import Footnotes
from bench.reporting.variants import variant_of


def entries(folder, method, edition="aaai2025"):
    cell(folder, method)
    records = load_cells(folder)
    row = Row("CNN", method, (), method, variant_of(records[0]))
    return parameter_entries(row, records, load_edition(edition), Footnotes())


def test_without_an_edition_there_are_three_columns_and_with_one_five():
    own = ("Trainable", "Trainable (M)", "Total (M)")
    assert parameter_headers(None) == own
    edition = load_edition("aaai2025")
    assert parameter_headers(edition) == (*own, "Printed (M)", "Difference (M)")


def test_the_difference_is_in_millions_of_the_exact_count(tmp_path):
    found = entries(tmp_path, "unet")
    assert [entry.text for entry in found] == ["14,751,873", "14.75", "15.75", "14.0", "+0.75"]
    assert found[-1].value == pytest.approx(14.751873 - 14.0, abs=1e-12)


def test_a_method_that_no_edition_prints_has_no_difference(tmp_path):
    found = entries(tmp_path, "mine")
    assert [entry.text for entry in found[-2:]] == ["–", "–"]
    assert found[-1].reason == "not printed"


def test_an_absent_training_is_what_was_asked_for_and_why():
    asked = request(settings={"base_channels": 8}, tokenizer="tiny-vq")
    assert Missing.of(asked, "no data") == Missing(
        method="unet", train="busi", settings={"base_channels": 8}, tokenizer="tiny-vq",
        reason="no data",
    )  # fmt: skip


def test_a_row_cannot_be_changed():
    row = Row("CNN", "UNet", (), "unet")
    with pytest.raises(FrozenInstanceError):
        row.label = "another"  # type: ignore[misc]
