"""docs/recipes.md: every method's native recipe beside its authors', made from the data."""

from collections.abc import Iterable

from bench.conformance.describe import on_meta
from bench.contracts import MethodSpec
from bench.recipes import Recipe, Topic
from bench.registry import get_method, plain_method_names

TOPICS: tuple[Topic, ...] = (
    "optimizer",
    "schedule",
    "length",
    "batches",
    "augmentation",
    "masks",
    "averaging",
    "selection",
)

HEAD = """# Recipes

What each method's authors do, read in their code at the commit named, and the native recipe that this harness trains it
with. `bench describe method NAME` prints the same. This page is made from the recipes by `python benchmarks/recipes.py`;
a test compares the two.

Every network gets its images as the line below its title says; `--set recipe.normalise=NAME` gives it others, by a name of
[methods.md](methods.md).

A run of another length (`--epochs`, profiles demo and smoke) keeps a recipe's shape: an epoch is one pass over the
data; warm-up takes at most a tenth of the run; restarts keep their period while two fit, else one takes the whole run;
the horizon of averaged weights is at most a fifth of the run. A row's footnote says from which length it was shortened.

![Rate, average and restarts of every recipe, at full length and over 13 epochs](images/recipes.png)
"""


def page() -> str:
    """The page, Markdown."""
    specs = [get_method(name) for name in sorted(plain_method_names())]
    return "\n".join([HEAD, *(section(spec) for spec in specs if spec.original is not None)])


def section(spec: MethodSpec) -> str:
    """One method: a row per topic, then what differs."""
    original = spec.original
    assert original is not None
    recipes = (spec.recipe, *spec.alternatives)
    names = " and ".join(f"`{recipe.name}`" for recipe in recipes)
    lines = [
        f"## {spec.title} (`{spec.name}`)",
        "",
        f"Original: {original.code}. Here: recipe {names}; images {_input(spec)}.",
        "",
        "| | original | here | read in |",
        "|---|---|---|---|",
    ]
    for topic in TOPICS:
        theirs, where = original.topics.get(topic, ("not in the code", ""))
        ours = " / ".join(dict.fromkeys(in_words(recipe)[topic] for recipe in recipes))
        lines.append(f"| {topic} | {_cell(theirs)} | {_cell(ours)} | {_cell(where)} |")
    return "\n".join([*lines, "", *(f"- {text}" for text in original.departures), ""])


def _input(spec: MethodSpec) -> str:
    """What the network gets of images in [0, 1]."""
    method, _ = on_meta(spec, spec.settings(), spec.reference_tokenizer)
    how = method.normalise.words
    return "in [0, 1]" if how == "none" else INPUT[how]


INPUT = {
    "imagenet": "in [0, 1] less ImageNet's mean, over its SD",
    "zscore": "in [0, 1] less their own mean, over their own SD, per channel",
    "stretch": "stretched, each to 0..255",
}


def in_words(recipe: Recipe) -> dict[Topic, str]:
    """Topic -> what the recipe says of it."""
    return {
        "optimizer": _optimizer(recipe),
        "schedule": _schedule(recipe),
        "length": _length(recipe),
        "batches": _batches(recipe),
        "augmentation": f"policy `{recipe.augmentation}`",
        "masks": recipe.masks,
        "averaging": _averaging(recipe),
        "selection": "by the protocol",
    }


def _optimizer(recipe: Recipe) -> str:
    parts = [f"{recipe.optimizer} {recipe.lr:g}"]
    if recipe.optimizer == "sgd":
        parts.append(f"{'Nesterov ' if recipe.nesterov else ''}momentum {recipe.momentum:g}")
    parts.append(f"weight decay {recipe.weight_decay:g}")
    if recipe.no_decay:
        parts.append(f"none for {_list(recipe.no_decay)}")
    if recipe.head_lr != 1:
        parts.append(f"heads at {recipe.head_lr:g} times the rate")
    if recipe.grad_clip is not None:
        parts.append(f"gradients clipped at norm {recipe.grad_clip:g}")
    return ", ".join(parts)


def _schedule(recipe: Recipe) -> str:
    parts: list[str] = [recipe.schedule]
    if recipe.period is not None:
        parts.append(f"every {recipe.period} epochs{', mirrored' if recipe.mirrored else ''}")
    if recipe.schedule == "poly":
        parts.append(f"power {recipe.power:g}")
    if recipe.run_share < 1:
        parts.append(f"first {recipe.run_share:.0%}")
    if recipe.min_lr:
        parts.append(f"down to {recipe.min_lr:g}")
    if recipe.warmup:
        start = f" from {recipe.warmup_from:g}" if recipe.warmup_from else ""
        parts.append(f"warm-up of {recipe.warmup:g} epochs{start}")
    if recipe.hold:
        parts.append(f"{recipe.hold:g} at the peak")
    parts.append("per epoch" if recipe.schedule_unit == "epoch" else "per step")
    return ", ".join(parts)


def _length(recipe: Recipe) -> str:
    steps = "" if recipe.steps_per_epoch is None else f" of {recipe.steps_per_epoch} steps"
    parts = [f"{recipe.epochs} epochs{steps}"]
    for dataset, changes in recipe.on_dataset.items():
        if "epochs" in changes:
            parts.append(f"{dataset} {changes['epochs']}")
    if recipe.patience is not None:
        parts.append(f"ends after {recipe.patience} without a better validation")
    return ", ".join(parts)


def _batches(recipe: Recipe) -> str:
    parts = [f"{recipe.batch_size} images"]
    for dataset, changes in recipe.on_dataset.items():
        if "batch_size" in changes:
            parts.append(f"{dataset} {changes['batch_size']}")
    if recipe.replacement:
        parts.append("with replacement")
    elif recipe.drop_last:
        full = "drawn over the end of a pass" if recipe.steps_per_epoch else "rest dropped"
        parts.append(full)
    else:
        parts.append("rest as a smaller batch")
    return ", ".join(parts)


def _averaging(recipe: Recipe) -> str:
    if recipe.ema_decay is None:
        return "none"
    return f"decay {recipe.ema_decay:g}{' with warm-up' if recipe.ema_warmup else ''}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
