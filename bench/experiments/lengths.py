"""How many training images a recipe shows, and how long it runs for a given number of them."""

from math import ceil

from bench.core.errors import BenchError
from bench.recipes import Recipe


def images_per_epoch(recipe: Recipe, cases: int) -> int:
    """Images in the batches of one epoch over `cases` training cases, each augmented copy counted.

    Must agree with `bench.training.batches.TrainingBatches`. Raises BenchError for a batch that
    cannot be filled.
    """
    size, steps = recipe.batch_size, recipe.steps_per_epoch
    if recipe.drop_last:
        require_batch(recipe, cases)
        return (cases // size if steps is None else steps) * size
    if steps is None:
        return cases
    passes, rest = divmod(steps, ceil(cases / size))
    return passes * cases + rest * size


def require_batch(recipe: Recipe, cases: int) -> None:
    """BenchError when the recipe drops incomplete batches and its batch exceeds the cases."""
    if recipe.drop_last and recipe.batch_size > cases:
        raise BenchError(
            f"Recipe {recipe.name!r} takes batches of {recipe.batch_size}, but this split has "
            f"{cases} training cases. Set a smaller batch: --set recipe.batch_size={cases}."
        )


def epochs_of_budget(budget: int, recipe: Recipe, cases: int) -> int:
    """Passes over `cases` that show nearest to `budget` images, at least one."""
    one_pass = images_per_epoch(recipe.shortened(1), cases)
    return max(1, round(budget / one_pass))
