"""Writes docs/recipes.md and docs/images/recipes.png: `python benchmarks/recipes.py`.

The figure shows, for every native recipe at full length and over 13 epochs, the learning rate as a
share of its highest, and the share of the initial weights left in the averaged ones. Steps per
epoch: the recipe's own, else those of BUSI (517 cases, the GMS list); restarts that are narrower
than a pixel show as a band.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bench.conformance.recipe_page import page
from bench.recipes import SHARED, Recipe
from bench.registry import get_method, plain_method_names
from bench.training.schedule import ema_decay, learning_rate

DOCS = Path(__file__).parent.parent / "docs"
CASES = 517
SHORT = 13


def native_recipes() -> list[Recipe]:
    """The shared recipe and every native one, each once."""
    specs = [get_method(name) for name in sorted(plain_method_names())]
    found = [recipe for spec in specs for recipe in (spec.recipe, *spec.alternatives)]
    return list({recipe.name: recipe for recipe in (SHARED, *found)}.values())


def draw(axes: Axes, recipe: Recipe) -> None:
    """Both curves of one recipe over its steps."""
    steps = recipe.steps_per_epoch or max(1, CASES // recipe.batch_size)
    total = steps * recipe.epochs
    points = np.unique(np.linspace(0, total - 1, 4000).astype(int))
    rates = [learning_rate(recipe, at // steps, at % steps, steps) / recipe.lr for at in points]
    axes.plot(points / steps, rates, lw=0.8, label="rate / highest")
    if recipe.ema_decay is not None:
        decays = [ema_decay(recipe, done, total) for done in range(1, total + 1)]
        left = np.exp(np.cumsum(np.log(decays)))
        axes.plot(points / steps, left[points], lw=0.8, label="initial weights left in the average")
    axes.set_title(f"{recipe.name}, {recipe.epochs} epochs of {steps} steps", fontsize=7)
    axes.set_ylim(-0.03, 1.06)
    axes.tick_params(labelsize=6)


def main() -> None:
    """Write both files."""
    recipes = native_recipes()
    figure, grid = plt.subplots(len(recipes), 2, figsize=(8, 1.5 * len(recipes)), squeeze=False)
    for row, recipe in zip(grid, recipes, strict=True):
        draw(row[0], recipe)
        draw(row[1], recipe.shortened(SHORT))
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=7)
    both = next(row[0] for row, recipe in zip(grid, recipes, strict=True) if recipe.ema_decay)
    both.legend(fontsize=6)
    figure.tight_layout()
    (DOCS / "images").mkdir(exist_ok=True)
    figure.savefig(DOCS / "images" / "recipes.png", dpi=110, metadata={"Software": None})
    (DOCS / "recipes.md").write_text(page())


if __name__ == "__main__":
    main()
