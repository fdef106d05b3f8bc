"""docs/recipes.md is what the recipes say, and every method states its original."""

from pathlib import Path

import pytest

from bench.conformance.describe import describe_method
from bench.conformance.recipe_page import in_words, page
from bench.recipes import Recipe
from bench.registry import get_method, plain_method_names

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_the_page_is_made_from_the_recipes():
    assert PAGE.read_text() == page(), "run: python benchmarks/recipes.py"


@pytest.mark.parametrize("name", plain_method_names())
def test_every_method_states_its_original_with_files_and_what_differs(name):
    original = get_method(name).original
    assert original is not None and "@" in original.code
    assert {"optimizer", "schedule", "length", "batches", "augmentation"} <= original.topics.keys()
    assert all(what and where for what, where in original.topics.values())
    assert original.departures and all(text.endswith(".") for text in original.departures)


def test_describe_prints_the_original_and_the_departures():
    facts = describe_method("sme_swin_unet")
    assert facts.original[0] == "kiharalab/ACC-UNet@d2bbae4"
    assert any(text.startswith("SLIC sees RGB images") for text in facts.departures)


def test_a_recipe_in_words():
    words = in_words(Recipe(name="x", warmup=5, ema_decay=0.99, drop_last=False, epochs=7))
    assert words["schedule"] == "cosine, warm-up of 5 epochs, per epoch"
    assert words["averaging"] == "decay 0.99"
    assert words["batches"] == "8 images, rest as a smaller batch"
    assert words["length"] == "7 epochs"
