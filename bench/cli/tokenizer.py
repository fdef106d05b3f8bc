"""`bench tokenizer`: train and eval."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from bench.cli import options as opt
from bench.cli.inspect import print_rows
from bench.cli.options import console
from bench.core.errors import BenchError
from bench.core.paths import cache_root, data_root
from bench.registry import get_tokenizer, use_plugin_files

app = typer.Typer(help="Train and evaluate image tokenizers.", no_args_is_help=True)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="tiny-kl or tiny-vq.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for weights, curve and state.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of your own pictures, added to the pool.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Another length.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: opt.Device = "cpu",
) -> None:
    """Train an embedded tokenizer on procedural pictures and write its model card; the same command
    resumes."""
    import torch

    from bench.tokenizers.embedded_training.corpus import Pool, read_pictures
    from bench.tokenizers.embedded_training.recipes import tokenizer_recipe
    from bench.tokenizers.embedded_training.train import TokenizerRun, run_training
    from bench.tokenizers.model_cards import write_training_card

    recipe = tokenizer_recipe(name)
    where = opt.one_device(device)
    extra = () if data is None else read_pictures(data, recipe.pool_size)
    pool = Pool.stored(
        cache_root() / "tokenizer-pool",
        recipe.pool_images,
        recipe.pool_masks,
        recipe.pool_size,
        seed,
        console.print,
        extra,
    )
    run = TokenizerRun(recipe, pool, seed, steps or recipe.steps, torch.device(where))
    with Progress(console=console) as progress:
        bar = progress.add_task(f"training {name}", total=run.steps)

        def follow(row: dict[str, float]) -> None:
            text = f"{name}: loss {row['loss']:.4f}"
            if "check_mask_dice" in row:
                text += f", mask Dice {row['check_mask_dice']:.4f}, PSNR {row['check_psnr']:.1f} dB"
            progress.update(bar, completed=row["step"], description=text)

        run_training(run, out, follow)
    write_training_card(out, get_tokenizer(name))
    text = f"Weights and model card in {out}. Use them as {name}@{out}."
    console.print(text, markup=False, highlight=False)


@app.command("eval")
def evaluate(
    name: Annotated[str, typer.Argument(help="NAME or NAME@LOCATION.")],
    data: opt.Data = None,
    datasets: Annotated[str | None, typer.Option(help="Only these prepared datasets.")] = None,
    masks: Annotated[Path | None, typer.Option("--masks", help="Folder of mask images.")] = None,
    threshold: Annotated[int, typer.Option(help="Mask levels above this, with --masks.")] = 127,
    size: Annotated[int, typer.Option(min=32, help="Side of the pictures.")] = 224,
    device: opt.Device = "auto",
    out: opt.Out = Path("results"),
    as_json: opt.Json = False,
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
    give_up: opt.GiveUp = 600.0,
) -> None:
    """What survives a tokenizer: Dice and HD95 of masks, PSNR and SSIM of images, per dataset.

    The cases are those of --data and --masks, or phantoms when neither is named.
    """
    use_plugin_files(plugin or [])
    from bench.tokenizers import evaluation

    short, _, location = name.partition("@")
    tokenizer = get_tokenizer(short).load(location or None)  # its faults show before any work
    root = data_root(data)
    wanted = _named(datasets, card or [])
    if masks is not None and not masks.is_dir():
        raise BenchError(f"No folder {masks}. Name a folder of mask images.")
    sets = [] if masks is None else [evaluation.mask_set(masks, size, threshold)]
    if data is not None or (masks is None and root is not None):
        assert root is not None
        sets += evaluation.prepared_sets(root, size, wanted)
    sets = sets or evaluation.phantom_sets(size)
    where = opt.one_device(device)
    result = evaluation.evaluate(tokenizer, sets, where, progress=_Steps(give_up, as_json))
    picture = out / "tokenizers" / f"{short}-{size}.png"
    evaluation.figure(tokenizer, sets, result, picture)
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
        return
    print_rows(_rounded(result.table().to_dict("records")), False, f"{name} at {size} px")
    speed = ", ".join(f"{way} {rate:.1f}" for way, rate in result.throughput().items())
    text = f"pictures per second on {where}: {speed}. Worst cases: {picture}"
    console.print(text, markup=False)


@app.command()
def ceiling(
    results: Annotated[Path, typer.Option("--results", "--out", help="Folder of results.")] = Path(
        "results"
    ),
    data: opt.Data = None,
    device: opt.Device = "auto",
    plugin: opt.Plugins = None,
    card: opt.Cards = None,
) -> None:
    """Score the stored cells' test masks after encoding and decoding by each cell's tokenizer.

    What is measured is stored beside the cells; tables print it below rows with a tokenizer.
    """
    use_plugin_files(plugin or [])
    from bench.experiments.ceilings import load_ceilings, measure_ceilings
    from bench.experiments.cells import load_cells

    def follow(line: str) -> None:
        console.print(line, highlight=False)

    cells = load_cells(results / "cells")
    measure_ceilings(cells, data_root(data), card or [], opt.one_device(device), follow)
    rows = [
        {"tokenizer": one.tokenizer, "weights": one.weights_hash[:12], "test set": one.test}
        | {"size": one.network_size, "cases": len(one.cases), "dice": one.mean}
        for one in load_ceilings(results)
    ]
    print_rows(_rounded(rows), False, "mean mask Dice through encode and decode")


def _named(datasets: str | None, cards: list[Path]) -> tuple[str, ...]:
    """The datasets to evaluate on: those named and those of the given cards; () for all."""
    from bench.data.cards import read_card

    return (*opt.listed("--datasets", datasets), *(read_card(file).name for file in cards))


class _Steps:
    """Prints each set of cases as it ends, and every ten seconds how far it is; gives up on a set
    after `give_up` seconds."""

    def __init__(self, give_up: float, silent: bool) -> None:
        self.give_up, self.silent = give_up, silent
        self.begun = self.said = time.monotonic()

    def __call__(self, name: str, done: int, cases: int) -> None:
        now = time.monotonic()
        if done < cases and now - self.begun > self.give_up:
            raise BenchError(
                f"Given up on {name} after {self.give_up:g} s and {done} of {cases} cases. Allow more "
                "(--give-up SECONDS), or use fewer cases or a smaller --size."
            )
        if not self.silent and (done == cases or now - self.said > 10):
            self.said = now
            console.print(
                f"{name}: {done} of {cases} cases, {now - self.begun:.0f} s", markup=False
            )
        if done == cases:
            self.begun = now


def _rounded(rows: list[dict]) -> list[dict]:
    """Floats at a readable length; what was not measured as a dash."""
    return [
        {k: ("–" if v != v else f"{v:.4f}") if isinstance(v, float) else v for k, v in row.items()}  # noqa: PLR0124 - NaN
        for row in rows
    ]
