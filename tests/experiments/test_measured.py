"""The committed results on real images: what stands in their tables follows from what is stored."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.app import app

MEASURED = Path(__file__).parents[2] / "results" / "measured" / "glas-128"
CELL = "ege_unet-glas-e6e08d15b8ea"


@pytest.fixture(autouse=True)
def without_data(monkeypatch):
    monkeypatch.delenv("GMS_BENCH_DATA", raising=False)


def bench(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def verified(results: Path) -> int:
    """The exit status of the check that somebody who is handed the folder runs."""
    return bench("verify", "--all", "--quick", "--results", results).exit_code


def one_cell(tmp_path: Path) -> Path:
    """A results folder with one of the cells; (results, its folder)."""
    shutil.copytree(MEASURED / "cells" / CELL, tmp_path / "cells" / CELL)
    return tmp_path / "cells" / CELL


def test_all_cells_are_verified():
    said = bench("verify", "--all", "--quick", "--results", MEASURED)
    assert said.exit_code == 0, said.output
    assert "14 cells: 14 in part" in said.output and "failed" not in said.output


def test_a_changed_number_is_found(tmp_path):
    import pandas as pd

    file = one_cell(tmp_path) / "scores" / "glas-test.parquet"
    assert verified(tmp_path) == 0
    rows = pd.read_parquet(file)
    rows.loc[0, "dsc"] += 1e-6
    rows.to_parquet(file)
    assert verified(tmp_path) == 1


def test_swapped_predictions_are_found(tmp_path):
    folder = one_cell(tmp_path)
    other = next(path for path in (MEASURED / "cells").glob("nnunet-*"))
    shutil.copy(other / "predictions" / "glas-test.npz", folder / "predictions" / "glas-test.npz")
    assert verified(tmp_path) == 1


def test_an_edited_record_is_found(tmp_path):
    file = one_cell(tmp_path) / "cell.json"
    record = json.loads(file.read_text())
    record["key"]["seed"] = 7
    file.write_text(json.dumps(record))
    assert verified(tmp_path) == 1


def test_the_committed_table_is_what_the_stored_scores_give(tmp_path):
    for name in ("cells", "ceilings"):
        shutil.copytree(MEASURED / name, tmp_path / name)
    said = bench("report", "--matrix", MEASURED / "matrix.toml", "--results", tmp_path)
    assert said.exit_code == 0, said.output
    place = Path("tables") / "small-clean-best-val-128" / "glas.csv"
    anew, committed = (
        list(csv.DictReader(io.StringIO((folder / place).read_text())))
        for folder in (tmp_path, MEASURED)
    )
    assert anew == committed and len(anew) == 7 * 3


def test_the_readme_prints_the_committed_table():
    readme = (MEASURED.parents[2] / "README.md").read_text()
    file = MEASURED / "tables" / "small-clean-best-val-128" / "glas.md"
    for number in ("87.24 ± 0.08", "85.60 ± 0.24", "79.19 ± 0.20", "66.71 ± 0.83", "21.72 ± 0.63"):
        assert number in readme and number in file.read_text()


def test_no_picture_of_the_dataset_is_handed_on():
    names = {path.name for path in MEASURED.rglob("*") if path.is_file()}
    assert not [name for name in names if "examples" in name or name.endswith(".safetensors")]
