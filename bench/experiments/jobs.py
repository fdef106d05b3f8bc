"""What a worker can do: resolve a request, train a cell, score a trained cell.

Each operation takes a job (JSON) and a progress callback and returns a JSON result. Only workers
import this module; it pulls in torch.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.contracts import BuildContext, MethodSpec, Tokenizer
from bench.core.devices import device_name
from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.files import write_json, write_with
from bench.core.frozen import validated
from bench.core.memory import peak_bytes, start_peak
from bench.core.paths import cache_root
from bench.core.provenance import environment, now
from bench.core.seeds import seed_for
from bench.data.arrays import CaseArrays
from bench.data.splits import Split
from bench.experiments.cells import (
    CellKey,
    CellRecord,
    CellRequest,
    TestSet,
    TokenizerKey,
    load_cell,
    write_frame,
)
from bench.experiments.sources import Sources
from bench.method import Method
from bench.recipes import SHARED, Recipe
from bench.registry import choose_tokenizer, get_method, use_plugin_files
from bench.training.batches import TrainingBatches
from bench.training.build import build_method, load_tokenizer, parameter_counts
from bench.training.checkpoints import save_tensors
from bench.training.engine import Engine
from bench.training.latents import LatentSource
from bench.training.predict import mean_dsc, probabilities, score
from bench.training.trainer import Trained, TrainingRun, load_own_state, own_state, train

Progress = Callable[[dict[str, Any]], None]

EXAMPLES = 4  # test cases whose masks a cell keeps for the qualitative figure


@dataclass(frozen=True)
class Resolved:
    """A request with every default filled in."""

    request: CellRequest
    spec: MethodSpec
    settings: Any
    recipe: Recipe
    key: CellKey

    @property
    def network_size(self) -> int:
        """Side of the pictures that the network sees."""
        wanted = self.recipe.image_size if self.request.profile.native_sizes else None
        return self.spec.size.fit(wanted or self.request.profile.image_size)


def resolve(request: CellRequest) -> Resolved:
    """Fill in defaults and check every name and value that needs the method's code.

    Raises BenchError for unknown methods, settings, recipe fields and tokenizers.
    """
    spec = get_method(request.method)
    settings = validated(spec.settings, request.given_settings, f"method {request.method!r}")
    defaults = spec.settings().model_dump(mode="json")
    resolved = settings.model_dump(mode="json")
    recipe = _recipe(spec, request)
    key = CellKey(
        method=request.method,
        settings=resolved,
        changed={k: v for k, v in resolved.items() if v != defaults[k]},
        tokenizer=_tokenizer_key(spec, request),
        train=request.train,
        protocol=request.protocol.name,
        selection=request.protocol.selection,
        recipe=recipe.name,
        seed=request.seed,
        profile=request.profile.name,
        epochs=recipe.epochs,
        image_size=request.profile.image_size,
    )
    return Resolved(request, spec, settings, recipe, key)


def _recipe(spec: MethodSpec, request: CellRequest) -> Recipe:
    recipe = spec.recipe if request.protocol.recipe == "native" else SHARED
    if request.profile.epochs is not None:
        recipe = recipe.shortened(request.profile.epochs)
    for changes, name in (
        (request.profile.recipe, f"{recipe.name}, as in profile {request.profile.name}"),
        (request.recipe, f"{recipe.name}, changed"),
    ):
        if changes:
            values = recipe.model_dump() | {"name": name} | changes
            recipe = validated(Recipe, values, f"recipe {recipe.name!r}")
    return recipe


def _tokenizer_key(spec: MethodSpec, request: CellRequest) -> TokenizerKey | None:
    chosen = choose_tokenizer(spec.tokenizer, request.tokenizer, request.profile.tokenizers)
    if chosen is None:
        return None
    tokenizer, location = chosen
    return TokenizerKey(
        name=tokenizer.name,
        role=tokenizer.role,
        default_role=spec.tokenizer,
        weights_hash=tokenizer.weights_hash(location),
    )


def build(
    resolved: Resolved, engine: Engine, load_weights: bool = True
) -> tuple[Method, Tokenizer | None]:
    """(method, its tokenizer) on the engine's device, initialised from the cell's seed."""
    request, spec = resolved.request, resolved.spec
    tokenizer = load_tokenizer(spec, request.tokenizer, request.profile.tokenizers)
    torch.manual_seed(seed_for(request.seed, "initial weights"))
    context = BuildContext(resolved.network_size, tokenizer, load_weights)
    method = build_method(spec, resolved.settings, context, resolved.recipe)
    if tokenizer is not None:
        tokenizer.to(engine.device)
    return engine.place(method), tokenizer


@dataclass
class CellContext:
    """One cell under work: its data, method and engine, and how to predict."""

    resolved: Resolved
    sources: Sources
    engine: Engine
    method: Method
    tokenizer: Tokenizer | None

    def arrays(self, dataset: str, size: int | None = None) -> CaseArrays:
        """A dataset at the network's size, or another."""
        return self.sources.arrays(dataset, size or self.resolved.network_size)

    def probabilities(self, dataset: str, cases: np.ndarray, latents: Tensor | None = None):
        """Probabilities of some cases of a dataset, batch by batch."""
        pixels = self.arrays(dataset).images[cases]
        seed = self.resolved.request.seed
        return probabilities(self.method, pixels, self.engine, seed, latents)

    def target(self, dataset: str) -> CaseArrays:
        """The masks that scores are taken against: at the profile's size and native."""
        return self.arrays(dataset, self.resolved.request.profile.image_size)


def _set_up(job: dict[str, Any]) -> CellContext:
    use_plugin_files(Path(file) for file in job["plugins"])
    request = CellRequest.model_validate(job["request"])
    resolved = resolve(request)
    profile = request.profile
    engine = Engine(
        torch.device(job["device"]), profile.precision, profile.channels_last, profile.compile
    )
    sources = Sources(profile, _path(job["data"]), [Path(f) for f in job["cards"]])
    return CellContext(resolved, sources, engine, *build(resolved, engine))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def resolve_job(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """{"key", "title", "family"} of a request."""
    use_plugin_files(Path(file) for file in job["plugins"])
    request = CellRequest.model_validate(job["request"])
    resolved = resolve(request)
    if resolved.recipe.batch_size > job["train_cases"]:
        raise BenchError(
            f"Recipe {resolved.recipe.name!r} takes batches of {resolved.recipe.batch_size}, but "
            f"{request.train} has {job['train_cases']} training cases under this split. Set a "
            f"smaller batch: --set recipe.batch_size={job['train_cases']}."
        )
    _require_buildable(resolved)
    return {
        "key": resolved.key.model_dump(mode="json"),
        "title": resolved.spec.title,
        "family": resolved.spec.family,
    }


_buildable: set[str] = set()


def _require_buildable(resolved: Resolved) -> None:
    """Build the method with its weights, once per worker, and let it go again.

    Weights that cannot be fetched and settings that do not go together show here, before any cell
    trains, and not when that cell's turn comes.
    """
    key = resolved.key
    what = repr((key.method, key.settings, key.tokenizer, resolved.network_size))
    if what not in _buildable:
        build(resolved, Engine(torch.device("cpu")))
        _buildable.add(what)


def train_job(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train a cell, score it on its test sets and write its record; returns mean DSC by test set."""
    folder = Path(job["folder"])
    with _only_here(folder), disk_errors(f"store cell {job['id']}", folder):
        if _is_done(folder):  # by another process, since this run was planned
            return _score_stored(job, folder, progress)
        started, clock = now(), time.monotonic()
        context = _set_up(job)
        own_peak = start_peak(context.engine.device)
        split = context.sources.split(
            context.resolved.request.train, context.resolved.request.protocol
        )
        latents = _latent_source(context)
        trained = _train(context, split, latents, folder, progress)
        save_tensors(folder / "weights.safetensors", own_state(context.method))
        write_frame(folder / "history.parquet", pd.DataFrame(trained.history))
        summary = _score_all(context, folder, progress)
        record = _record(job, context) | {
            "provenance": environment()
            | {
                "device": device_name(context.engine.device),
                "started": started,
                "finished": now(),
                "train_seconds": round(trained.seconds, 3),
                "total_seconds": round(time.monotonic() - clock, 3),
                "peak_memory_bytes": peak_bytes(context.engine.device),
                "peak_memory_of": "cell" if own_peak else "worker process",
                "recipe": context.resolved.recipe.model_dump(mode="json"),
                "request": job["request"],
                "count_explanation": context.resolved.spec.count_explanation,
                "selected_epoch": trained.epoch,
                "optimism": _optimism(trained),
                "cards": context.sources.card_hashes(),
                "split": {"scheme": split.scheme, "seed": split.seed}
                | {"train": len(split.train), "val": len(split.val), "test": len(split.test)},
                "network_size": context.resolved.network_size,
                "precision": context.engine.precision,
                "channels_last": context.engine.channels_last,
                "compile": context.engine.compile,
                "threads": torch.get_num_threads(),
                "latent_cache": None if latents is None else latents.counts(),
            }
        }
        CellRecord.model_validate(record).write(folder)
        shutil.rmtree(folder / "resume", ignore_errors=True)
        return summary


def score_job(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Score an already trained cell on its request's test sets."""
    folder = Path(job["folder"])
    with _only_here(folder), disk_errors(f"store scores of {job['id']}", folder):
        return _score_stored(job, folder, progress)


def _is_done(folder: Path) -> bool:
    file = folder / "cell.json"
    return file.is_file() and load_cell(file).status == "done"


def _score_stored(job: dict[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
    context = _set_up(job)
    load_own_state(context.method, load_file(folder / "weights.safetensors"))
    return _score_all(context, folder, progress)


def _latent_source(context: CellContext) -> LatentSource | None:
    """Cached latents of the training dataset, where the method reads any."""
    if context.tokenizer is None or not context.method.latent_inputs:
        return None
    arrays, root = context.arrays(context.resolved.request.train), cache_root() / "latents"
    engine = context.engine
    return LatentSource(context.tokenizer, arrays, root, engine.device, engine.precision)


def _train(
    context: CellContext,
    split: Split,
    latents: LatentSource | None,
    folder: Path,
    progress: Progress,
) -> Trained:
    request, recipe = context.resolved.request, context.resolved.recipe
    arrays = context.arrays(request.train)
    rows, device = arrays.rows(split.train), context.engine.device
    batches = TrainingBatches(arrays, rows, recipe, request.seed, device, latents)
    watched = {"last": (), "best-val": ("val",), "best-test": ("test",)}[request.protocol.selection]
    if request.protocol.selection == "best-test" and split.val:
        watched = ("val", "test")  # their gap is the optimism
    parts = {"val": split.val, "test": split.test}
    validate = {part: _validation(context, parts[part], latents) for part in watched}
    plan = TrainingRun(
        recipe=recipe,
        selection=request.protocol.selection,
        validate=validate,
        validate_every=request.profile.validate_every,
        seed=request.seed,
        engine=context.engine,
        resume_file=folder / "resume" / "state.safetensors",
        on_progress=_throttled(progress),
    )
    return train(context.method, batches, plan)


def _validation(
    context: CellContext, case_ids: tuple[str, ...], latents: LatentSource | None
) -> Callable[[], float]:
    """Mean DSC of the method as it stands, from stored latents where it can predict from them."""
    dataset = context.resolved.request.train
    cases = context.arrays(dataset).rows(case_ids)
    masks = np.asarray(context.target(dataset).masks[cases])
    from_latents = latents is not None and context.method.predicts_from_latents

    def validate() -> float:
        stored = latents.images(cases) if latents is not None and from_latents else None
        return mean_dsc(context.probabilities(dataset, cases, stored), masks)

    return validate


def _score_all(context: CellContext, folder: Path, progress: Progress) -> dict[str, Any]:
    summary = {}
    for test in context.resolved.request.tests:
        progress({"scoring": test.label})
        summary[test.label] = _score(context, test, folder)
    return summary


def _score(context: CellContext, test: TestSet, folder: Path) -> float:
    """Write the rows and examples of one test set; the mean DSC on the network grid."""
    ids = context.sources.test_cases(test, context.resolved.request.protocol)
    target = context.target(test.dataset)
    cases = target.rows(ids)
    rows, preds = score(context.probabilities(test.dataset, cases), target, cases, EXAMPLES)
    shown = cases[: len(preds)]
    examples: dict[str, Any] = {
        "case_ids": np.array([target.case_ids[case] for case in shown]),
        "images": target.images[shown],
        "masks": target.masks[shown],
        "preds": preds,
    }
    write_with(
        folder / "scores" / f"{test.label}-examples.npz",
        lambda file: np.savez_compressed(file, **examples),
    )
    write_frame(folder / "scores" / f"{test.label}.parquet", rows)
    write_json(
        folder / "scores" / f"{test.label}.json",
        {"inputs": context.sources.test_digest(test, context.resolved.request.protocol)},
    )
    return float(rows.loc[rows["grid"] == "network", "dsc"].mean())


def _record(job: dict[str, Any], context: CellContext) -> dict[str, Any]:
    method = context.method
    trainable, total = parameter_counts(method, context.tokenizer)
    return {
        "id": job["id"],
        "status": "done",
        "key": context.resolved.key.model_dump(mode="json"),
        "request": job["request_digest"],
        "inputs": job["inputs"],
        "title": context.resolved.spec.title,
        "family": context.resolved.spec.family,
        "trainable_params": trainable,
        "total_params": total,
        "footnotes": list(method.footnotes),
    }


def _optimism(trained: Trained) -> float | None:
    """Best test DSC of any epoch minus the test DSC of the epoch that validation picks."""
    history = pd.DataFrame(trained.history)
    measured = history.dropna(subset=["val_dsc", "test_dsc"])
    if measured.empty:
        return None
    honest = measured.loc[measured["val_dsc"].idxmax(), "test_dsc"]
    return float(measured["test_dsc"].max() - honest)


def _throttled(progress: Progress, seconds: float = 0.5) -> Progress:
    """Pass on every finished epoch, but steps only every half second."""
    last = 0.0

    def pass_on(event: dict[str, Any]) -> None:
        nonlocal last
        if "step" not in event or time.monotonic() - last > seconds:
            last = time.monotonic()
            progress({k: None if v != v else v for k, v in event.items()})  # noqa: PLR0124 - NaN

    return pass_on


class CellInUse(BenchError):
    """Another process works on the cell and will record how that ends."""


@contextmanager
def _only_here(folder: Path) -> Iterator[None]:
    """Hold a cell's lock; the system lets go of it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CellInUse(
                f"Cell {folder.name} is being trained by another process; run again later."
            ) from error
        yield


OPERATIONS: dict[str, Callable[[dict[str, Any], Progress], dict[str, Any]]] = {
    "resolve": resolve_job,
    "train": train_job,
    "score": score_job,
}
