"""Which facets tell two cells of one variant apart, and how they are named."""

import pytest
from records import cell

from bench.reporting.repetitions import facets, repetition_digest, telling, words_of


def words(cells):
    """What names each cell beside the others."""
    names = telling(cells)
    return [words_of((name, facets(record).get(name)) for name in names) for record in cells]


def with_fields(folder, digest, **fields):
    return cell(folder, recipe_fields={"name": "shared"} | fields, inputs={"recipe": digest})


def test_cells_that_differ_in_the_seed_alone_are_repetitions(tmp_path):
    cells = [cell(tmp_path, seed=seed, dsc=0.1 * seed) for seed in range(3)]
    assert telling(cells) == []
    assert len(set(map(repetition_digest, cells))) == 1


@pytest.mark.parametrize(
    "component", ["code", "recipe", "settings", "tokenizer", "numerics", "selection", "size"]
)
def test_every_component_of_the_identity_is_told_by_its_digest(tmp_path, component):
    cells = [cell(tmp_path, inputs={component: value * 64}) for value in "ab"]
    assert words(cells) == [f"{component} aaaaaaaa", f"{component} bbbbbbbb"]
    assert len(set(map(repetition_digest, cells))) == 2


@pytest.mark.parametrize("component", ["data", "split"])
def test_cells_of_other_data_are_no_repetitions(tmp_path, component):
    cells = [cell(tmp_path, inputs={component: value}) for value in "ab"]
    assert len(set(map(repetition_digest, cells))) == 2


def test_a_recipe_is_told_by_the_fields_that_differ(tmp_path):
    cells = [
        with_fields(tmp_path, "a", lr=0.01, warmup=1, batch_size=8),
        with_fields(tmp_path, "b", lr=0.02, warmup=None, batch_size=8),
    ]
    assert words(cells) == [
        "recipe.lr=0.01, recipe.warmup=1",
        "recipe.lr=0.02, recipe.warmup=null",
    ]


def test_a_digest_is_added_where_fields_do_not_explain_it(tmp_path):
    cells = [
        with_fields(tmp_path, "a" * 8, lr=0.01),
        with_fields(tmp_path, "b" * 8, lr=0.02),
        with_fields(tmp_path, "c" * 8, lr=0.02),  # differs in what its record does not hold
    ]
    assert words(cells)[1:] == [
        "recipe bbbbbbbb, recipe.lr=0.02",
        "recipe cccccccc, recipe.lr=0.02",
    ]


def test_numerics_are_told_by_the_precision(tmp_path):
    cells = [
        cell(tmp_path, inputs={"numerics": p}, provenance={"request": {"profile": {"precision": p}}})
        for p in ("bf16", "fp32")
    ]  # fmt: skip
    assert words(cells) == ["precision=bf16", "precision=fp32"]


def test_what_only_a_finished_cell_states_does_not_part_it_from_a_failed_one(tmp_path):
    weights = {"initial_weights": "random"}
    cells = [
        cell(tmp_path, seed=0, provenance=weights),
        cell(tmp_path, seed=1, status="failed", error="crash"),
    ]
    assert telling(cells) == []
    cells.append(cell(tmp_path, seed=2, provenance={"initial_weights": "pretrained: imagenet"}))
    assert words(cells)[2] == "initial weights pretrained: imagenet"
