"""One cell's training: the method built and initialised, its batches, its validation, the loop.

Everything here decides the cell's weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, Tokenizer
from bench.data.arrays import CaseArrays
from bench.data.splits import Split
from bench.method import Method
from bench.protocols import Selection, SelectionMetric
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches
from bench.training.build import build_method
from bench.training.compiled import compile_method
from bench.training.engine import Engine
from bench.training.latents import LatentSource
from bench.training.predict import predictions, validation_scores
from bench.training.seeds import seed_for
from bench.training.trainer import Trained, TrainingRun, Validate, train


def build(
    spec: MethodSpec,
    settings: Settings,
    recipe: Recipe,
    context: BuildContext,
    seed: int,
    engine: Engine,
) -> Method:
    """The method on the engine's device, initialised from the cell's seed; compiled if asked for."""
    torch.manual_seed(seed_for(seed, "initial weights"))
    method = build_method(spec, settings, context, recipe)
    if isinstance(context.tokenizer, nn.Module):
        context.tokenizer.to(engine.device)
    method = engine.place(method)
    if engine.compile:
        compile_method(method)
    return method


@dataclass(frozen=True)
class TrainingData:
    """What a cell trains and validates on.

    arrays: images and masks at the network's size. target: the same cases at the size that
    validation takes its scores at. latents: of the arrays' cases, None for methods that read none.
    """

    arrays: CaseArrays
    target: CaseArrays
    split: Split
    latents: LatentSource | None


def latent_source(
    method: Method, tokenizer: Tokenizer | None, arrays: CaseArrays, cache: Path, engine: Engine
) -> LatentSource | None:
    """Cached latents of a training dataset, where the method's loss reads any."""
    if tokenizer is None or not method.latent_inputs:
        return None
    return LatentSource(
        tokenizer, arrays, cache, engine.device, engine.precision, method.latent_inputs
    )


def fit(
    method: Method,
    data: TrainingData,
    recipe: Recipe,
    engine: Engine,
    *,
    selection: Selection,
    metric: SelectionMetric = "dsc",
    validate_every: int,
    seed: int,
    resume_file: Path | None,
    on_progress: Callable[[dict[str, Any]], None],
    also_test: bool = False,
) -> Trained:
    """Train the method in place; it ends with the weights that the selection rule picks.

    also_test: score the test cases whenever validation is scored, for the history alone.
    """
    batches = TrainingBatches(
        data.arrays,
        data.arrays.rows(data.split.train),
        recipe,
        seed,
        engine.device,
        data.latents,
    )
    subsets = {"val": data.split.val, "test": data.split.test}
    validate = {
        name: _validation(method, data, subsets[name], engine, seed, metric)
        for name in _validated(selection, data.split, also_test)
    }
    run = TrainingRun(
        recipe=recipe,
        selection=selection,
        validate=validate,
        validate_every=validate_every,
        seed=seed,
        engine=engine,
        metric=metric,
        resume_file=resume_file,
        on_progress=on_progress,
    )
    return train(method, batches, run)


def _validated(selection: Selection, split: Split, also_test: bool = False) -> tuple[str, ...]:
    """The subsets that are scored during training."""
    if also_test and selection == "best-val":
        return ("val", "test")
    if selection == "best-test":
        # Validation as well, where there is some: the gap between the two rules is the optimism.
        return ("val", "test") if split.val else ("test",)
    return ("val",) if selection == "best-val" else ()


def _validation(
    method: Method,
    data: TrainingData,
    case_ids: tuple[str, ...],
    engine: Engine,
    seed: int,
    metric: SelectionMetric,
) -> Validate:
    """Scores of the method on these cases at the time of the call.

    Pixels, masks and latents go to the device once, at the first call, and stay there.
    """
    kind = type(method.authored).__name__
    there: list[_Resident] = []

    def validate() -> dict[str, float]:
        if not there:
            there.append(_resident(method, data, case_ids, engine))
        cases = there[0]
        probs = predictions(
            method, cases.pixels, engine, seed, cases.latents, case_ids=case_ids, validating=True
        )
        return validation_scores(probs, cases.masks, metric, kind)

    return validate


@dataclass(frozen=True)
class _Resident:
    """Cases on the device. pixels: uint8 (N, S, S, 3). masks: bool (N, H, W). latents: of the
    images where the method predicts from stored ones."""

    pixels: Tensor
    masks: Tensor
    latents: Tensor | None


def _resident(
    method: Method, data: TrainingData, case_ids: tuple[str, ...], engine: Engine
) -> _Resident:
    cases, source = data.arrays.rows(case_ids), data.latents
    latents = None
    if source is not None and "image" in source.kinds and method.predicts_from_latents:
        latents = source.images(cases).to(engine.device)
    masks = np.asarray(data.target.masks[data.target.rows(case_ids)])
    return _Resident(
        pixels=torch.tensor(data.arrays.images[cases]).to(engine.device),
        masks=torch.tensor(masks).to(engine.device),
        latents=latents,
    )
