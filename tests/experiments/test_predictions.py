"""Predicted masks survive storing bit by bit, in little space; a changed file is refused."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.core.files import file_digest
from bench.experiments.predictions import Predictions, predictions_file, read_predictions


def disc(height: int, width: int, row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def lesions(count: int) -> Predictions:
    """Masks of `count` cases, all different; native sizes differ and are no multiples of 8."""
    network = [disc(64, 64, 20 + i % 20, 30, 5 + i % 13) for i in range(count)]
    native = [disc(101 + i % 7, 67 + i % 5, 40 + i % 20, 30, 9 + i % 13) for i in range(count)]
    return Predictions(tuple(f"case-{i}" for i in range(count)), tuple(network), tuple(native))


def test_masks_of_every_case_come_back_on_both_grids(tmp_path):
    stored = lesions(12)
    checksum = stored.write(tmp_path, "busi-test")
    found = read_predictions(tmp_path, "busi-test", checksum)
    assert found.case_ids == stored.case_ids
    for grid in ("network", "native"):
        for one, other in zip(getattr(found, grid), getattr(stored, grid), strict=True):
            assert one.dtype == bool
            np.testing.assert_array_equal(one, other)


def test_equal_masks_give_equal_files(tmp_path):
    assert lesions(3).write(tmp_path, "a-test") == lesions(3).write(tmp_path, "b-test")


def test_two_thousand_cases_of_ham10000s_size_take_a_few_megabytes(tmp_path):
    network = tuple(disc(224, 224, 90 + i % 40, 110, 30 + i % 50) for i in range(200))
    native = tuple(disc(450, 600, 200 + i % 40, 300, 60 + i % 99) for i in range(200))
    ids = tuple(map(str, range(200)))
    Predictions(ids, network, native).write(tmp_path, "ham10000-test")
    assert predictions_file(tmp_path, "ham10000-test").stat().st_size * 10 < 5e6


def test_a_changed_or_missing_file_is_named(tmp_path):
    checksum = lesions(2).write(tmp_path, "busi-test")
    file = predictions_file(tmp_path, "busi-test")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BenchError, match=r"busi-test\.npz is missing or was changed"):
        read_predictions(tmp_path, "busi-test", checksum)
    file.unlink()
    with pytest.raises(BenchError, match="is missing or was changed"):
        read_predictions(tmp_path, "busi-test", checksum)


def test_predictions_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Predictions((), (), ()).network = ()


def test_a_file_that_needs_pickle_is_refused(tmp_path):
    """Its checksum may be right: unpickling runs code."""
    file = predictions_file(tmp_path, "busi-test")
    file.parent.mkdir()
    np.savez(file, case_ids=np.array(["a"], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_predictions(tmp_path, "busi-test", file_digest(file))
