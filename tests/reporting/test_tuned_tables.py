"""Rows of tuned cells state their search, and tables refuse to mix searches of unequal budgets."""

import csv
import io

import pytest
from records import cell

from bench.core.errors import BenchError
from bench.experiments.matrices import TableBlock
from bench.reporting.tables import build_tables, to_csv, to_markdown

METHODS = TableBlock(name="t1", caption="Methods", kind="methods", datasets=("busi",))


def tuned(folder, method="unet", seed=0, recipe_trial=3, **changes):
    """A cell whose recipe trial 3 of a search found."""
    search = {
        "study": f"search/{method}-busi", "trial": recipe_trial, "trials": 14, "images": 9602,
        "planned": 9600, "budget": 960, "score": "validation DSC", "value": 0.8, "image_size": 96,
    } | changes  # fmt: skip
    found = f"{search['study']}, trial {search['trial']}"
    return cell(
        folder, method, seed=seed, protocol="tuned", recipe=f"tuned: {found}",
        recipe_fields={"tuned": found, "lr": 0.01},
        provenance={"request": {"tuned": search, "protocol": {"name": "tuned"}}},
    )  # fmt: skip


def test_a_row_states_trials_images_and_what_chose_the_winner(tmp_path):
    (table,) = build_tables([METHODS], [tuned(tmp_path), tuned(tmp_path, "gms", images=9600)])
    text = to_markdown(table)
    assert (
        "Recipe tuned: search/unet-busi, trial 3; found by a search: 14 trials, 9,602 training images "
        "at 96 px, winner by validation DSC;" in text
    )
    assert (
        "Search of each tuned recipe: 9,600 training images in trials of 960, on training and "
        "validation cases only." in text
    )
    assert "search images" not in text  # 9600 and 9602 are equal budgets
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    columns = ("search_trials", "search_images", "search_score")
    assert {row["method"]: tuple(row[name] for name in columns) for row in rows} == {
        "unet": ("14", "9602", "validation DSC"),
        "gms": ("14", "9600", "validation DSC"),
    }


def test_a_table_without_a_search_says_nothing_of_one(tmp_path):
    (table,) = build_tables([METHODS], [cell(tmp_path)])
    assert "search" not in to_markdown(table).lower()


@pytest.mark.parametrize("field, value", [("planned", 19200), ("budget", 1920)])
def test_searches_of_unequal_budgets_do_not_stand_in_one_table(tmp_path, field, value):
    cells = [tuned(tmp_path), tuned(tmp_path, "gms", **{field: value})]
    with pytest.raises(BenchError, match=f"would mix cells whose tuned differs in {field}"):
        build_tables([METHODS], cells)


def test_seeds_of_one_winner_are_averaged_and_two_winners_get_a_row_each(tmp_path):
    cells = [tuned(tmp_path, seed=0), tuned(tmp_path, seed=1)]
    (table,) = build_tables([METHODS], cells)
    assert [row.label for row in table.rows if row.entries] == ["UNet"]
    (table,) = build_tables([METHODS], [*cells, tuned(tmp_path, recipe_trial=5)])
    labels = [row.label for row in table.rows if row.entries]
    assert len(labels) == 2 and all("recipe.tuned=search/unet-busi, trial" in one for one in labels)
