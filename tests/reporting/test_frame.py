"""The frame of scores and the frame of cells: rows, columns, units, and the documented example."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from records import case_rows, cell, put_scores

import bench
from bench.core.errors import BenchError
from bench.reporting.frame import CELL_COLUMNS, SCORE_COLUMNS, ScoreIndex

PAGE = Path(__file__).parents[2] / "docs" / "scores.md"

SEED_0 = [
    {"dsc": 0.9, "iou": 0.8, "hd95": 3.0, "hd95_directed": 4.0},
    {"dsc": 0.0, "iou": 0.0, "hd95": 99.0, "hd95_directed": 99.0, "empty": "pred"},
]


@pytest.fixture
def results(tmp_path):
    """UNet with two seeds, GMS with two variants, one failed cell; scores that differ by case."""
    folder = tmp_path / "cells"
    both = pd.concat([case_rows(SEED_0), case_rows([{"dsc": 0.7}, {"dsc": 0.1}], "native", 500)])
    put_scores(cell(folder, "unet", seed=0), "busi-test", both)
    put_scores(cell(folder, "unet", seed=1), "busi-test", case_rows([{"dsc": 0.5}, {"dsc": 0.3}]))
    cell(folder, "gms", dsc={"busi-test": 0.8, "bus-all": 0.6}, cases=2)
    cell(folder, "gms", changed={"loss": "lm"}, role="discrete", dsc=0.4, cases=2)
    cell(folder, "ege_unet", status="failed", error="out of memory")
    return tmp_path


def test_a_row_is_one_metric_of_one_case_on_one_grid(results):
    scores = bench.load_scores(results)
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert len(scores) == 4 * (2 * 2 + 2 + 2 * 2 + 2)  # metrics x (cases x grids or test sets)
    unet = scores[(scores["method"] == "unet") & (scores["seed"] == 0)]
    found = {(r.grid, r.case, r.metric): (r.value, r.empty) for r in unet.itertuples()}
    assert found["network", "case-0", "dsc"] == (0.9, "none")
    assert found["network", "case-0", "iou"] == (0.8, "none")
    assert found["network", "case-0", "hd95"] == (3.0, "none")
    assert found["network", "case-0", "hd95_directed"] == (4.0, "none")
    assert found["network", "case-1", "hd95"] == (99.0, "pred")
    assert found["native", "case-1", "dsc"] == (0.1, "none")
    assert set(unet["group"]) == {"group-0", "group-1"}


def test_coordinates_come_from_the_cell(results):
    scores = bench.load_scores(results)
    gms = scores[scores["method"] == "gms"]
    found = set(zip(gms["variant"], gms["train"], gms["test"], gms["subset"], strict=True))
    assert found == {
        ("tiny-kl", "busi", "busi", "test"),
        ("tiny-kl", "busi", "bus", "all"),
        ("loss=lm, tiny-vq", "busi", "busi", "test"),
    }
    assert set(scores.loc[scores["method"] == "unet", "variant"]) == {""}
    assert set(scores.loc[scores["method"] == "unet", "seed"]) == {0, 1}


def test_strings_are_categoricals_so_that_the_frame_stays_small(results):
    kinds = bench.load_scores(results).dtypes.astype(str).to_dict()
    assert kinds.pop("value") == "float64" and kinds.pop("seed") == "int64"
    assert set(kinds.values()) == {"category"}


def test_cells_have_a_row_each_failed_ones_too(results):
    cells = bench.load_cells(results).set_index("cell")
    assert tuple(bench.load_cells(results).columns) == CELL_COLUMNS
    assert sorted(cells["status"]) == ["done"] * 4 + ["failed"]
    (failed,) = cells[cells["status"] == "failed"].itertuples()
    assert (failed.method, failed.error) == ("ege_unet", "out of memory")
    assert pd.isna(failed.trainable_params)
    (gms,) = cells[cells["variant"] == "tiny-kl"].itertuples()
    assert (gms.title, gms.family, gms.trainable_params) == ("GMS", "Generative", 1_564_976)
    assert (gms.tokenizer, gms.tokenizer_role, gms.settings) == (
        *("tiny-kl", "continuous"),
        '{"loss": "lm+seg"}',
    )
    assert (gms.profile, gms.protocol, gms.selection, gms.image_size) == (
        *("demo", "clean", "best-val", 96),
    )
    assert (gms.recipe, gms.epochs, gms.seed, gms.device) == ("shared", 20, 0, "CPU")


def test_every_score_belongs_to_a_cell(results):
    scores, cells = bench.load_scores(results), bench.load_cells(results)
    done = cells.loc[cells["status"] == "done", "cell"]
    assert set(scores["cell"]) == set(done)


def test_a_folder_without_cells_gives_empty_frames(tmp_path):
    assert tuple(bench.load_scores(tmp_path).columns) == SCORE_COLUMNS
    assert len(bench.load_scores(tmp_path)) == len(bench.load_cells(tmp_path)) == 0
    assert ScoreIndex(bench.load_scores(tmp_path)).rows("c", "t", "s", "network", "dsc").empty


def test_a_changed_score_file_is_refused(results):
    file = next(results.glob("cells/unet*/scores/*.parquet"))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(BenchError, match="was changed since cell unet"):
        bench.load_scores(results)


def test_the_index_finds_exactly_the_rows_of_one_test_set(results):
    scores = bench.load_scores(results)
    name = next(c for c in scores["cell"].cat.categories if c.startswith("unet-busi-0"))
    index = ScoreIndex(scores)
    rows = index.rows(name, "busi", "test", "network", "hd95")
    assert (rows["case"].tolist(), rows["value"].tolist()) == (["case-0", "case-1"], [3.0, 99.0])
    assert index.rows(name, "busi", "all", "network", "hd95").empty
    assert index.rows(name, "bus", "test", "network", "hd95").empty


def test_the_page_describes_every_column():
    described = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert described == [*SCORE_COLUMNS, *CELL_COLUMNS]


def test_the_example_of_the_page_runs_and_prints_what_it_says(results):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (results / "results").mkdir()
    (results / "cells").rename(results / "results" / "cells")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=results, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(PAGE.parents[1])},
    )  # fmt: skip
    assert re.search(r"unet +busi +busi +\w{12} +42\.5 +3\.5355", done.stdout), done.stdout


def test_import_bench_needs_neither_pandas_nor_torch():
    code = "import bench, sys; print([m for m in ('pandas', 'torch', 'numpy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'load_tables'"):
        bench.load_tables  # noqa: B018
