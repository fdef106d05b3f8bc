"""One cell under work: its data, method, tokenizer and engine. Importing this imports torch."""

import math
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bench.contracts import BuildContext, MethodSpec, Settings, Tokenizer
from bench.core.devices import device_name
from bench.core.files import file_digest
from bench.core.memory import peak_bytes, start_peak
from bench.core.paths import cache_root
from bench.core.provenance import environment
from bench.data.arrays import CaseArrays
from bench.data.splits import Split
from bench.experiments.attempts import STATE
from bench.experiments.cells import WEIGHTS, CellRecord, CellRequest, TestSet
from bench.experiments.identity import Resolution
from bench.experiments.lengths import images_per_epoch
from bench.experiments.messages import Epoch, Job, Progress, Step
from bench.experiments.predictions import Predictions
from bench.experiments.resolve import full_recipe, resolve
from bench.experiments.sources import Sources
from bench.experiments.stopping import stoppable
from bench.method import Method
from bench.tokenizers.half import HalfTokenizer
from bench.training import trainer
from bench.training.build import load_tokenizer, parameter_counts
from bench.training.checkpoints import save_tensors
from bench.training.compiled import compiled_facts, compiled_footnotes
from bench.training.engine import Engine, wait_for
from bench.training.fit import TrainingData, build, fit, latent_source
from bench.training.predict import masks_on_grids, probabilities
from bench.training.trainer import Trained
from bench.training.weights import load_own_state, own_state

TIMED_STEPS = 6
SECONDS_BETWEEN_STEPS = 0.5  # at most one step in that time is reported; every epoch is


def built(
    request: CellRequest,
    spec: MethodSpec,
    settings: Settings,
    resolution: Resolution,
    engine: Engine,
    load_weights: bool = True,
) -> tuple[Method, Tokenizer | None]:
    """(the request's method, its tokenizer) on the engine's device, initialised from its seed."""
    tokenizer = load_tokenizer(spec, request.tokenizer, request.profile.tokenizers)
    if tokenizer is not None and request.profile.rounds_tokenizers:
        tokenizer = HalfTokenizer(tokenizer)
    context = BuildContext(resolution.network_size, tokenizer, load_weights)
    method = build(spec, settings, resolution.recipe, context, request.seed, engine)
    return method, tokenizer


_buildable: dict[str, int] = {}


def require_buildable(
    request: CellRequest, spec: MethodSpec, settings: Settings, resolution: Resolution
) -> int:
    """Build the method with its weights, once per worker, and let it go again; the bytes of what it
    would store.

    Weights that cannot be fetched and settings that do not go together show here, before any cell
    trains, and not when that cell's turn comes.
    """
    key = resolution.key
    recipe = resolution.recipe
    asked = (recipe.loss, recipe.normalise)
    what = repr((key.method, key.settings, key.tokenizer, resolution.network_size, asked))
    if what not in _buildable:
        method, _ = built(request, spec, settings, resolution, Engine(torch.device("cpu")))
        _buildable[what] = sum(tensor.nbytes for tensor in own_state(method).values())
    return _buildable[what]


class _Enough(Exception):
    """Enough steps were timed."""


class CellContext:
    """The cell of a job, set up on the job's device.

    resolved: (spec, settings, resolution) of a stored cell that is replayed; None resolves the
    job's request anew.
    """

    def __init__(
        self, job: Job, resolved: tuple[MethodSpec, Settings, Resolution] | None = None
    ) -> None:
        assert job.folder is not None
        self.job, self.request, self.folder = job, job.request, job.folder
        self.spec, settings, self.resolution = resolved or resolve(job.request, job.train_cases)
        profile = job.request.profile
        self.engine = Engine(
            torch.device(job.device),
            profile.precision,
            profile.channels_last,
            profile.compile,
            tf32=profile.tf32,
            deterministic=profile.deterministic,
        )
        self.sources = Sources(profile, job.data, list(job.cards))
        self.method, self.tokenizer = built(
            job.request, self.spec, settings, self.resolution, self.engine
        )
        self._own_peak = start_peak(self.engine.device)

    def arrays(self, dataset: str) -> CaseArrays:
        """A dataset at the network's size, as the protocol resizes."""
        return self.sources.arrays(
            dataset, self.resolution.network_size, self.request.protocol.resize
        )

    def target(self, dataset: str) -> CaseArrays:
        """A dataset's masks that scores are taken against: at the profile's size and native."""
        return self.sources.arrays(dataset, self.request.profile.image_size)

    @cached_property
    def data(self) -> TrainingData:
        """What the cell trains and validates on."""
        arrays = self.arrays(self.request.train)
        latents = latent_source(
            self.method, self.tokenizer, arrays, cache_root() / "latents", self.engine
        )
        protocol, side = self.request.protocol, self.request.profile.image_size
        split = self.sources.split(self.request.train, protocol)
        target = self.sources.arrays(self.request.train, side, protocol.resize)
        return TrainingData(arrays, target, split, latents)

    def train(self, report: Callable[[Progress], None]) -> Trained:
        """Train the method; it resumes from the state that an earlier attempt left."""
        state, pass_on = self.folder / STATE, _progress(report)
        data = self.data  # latents may take long; until they are there, nothing is to be stored
        with self.engine.numerics(), stoppable(state, _store_every_epoch) as see:

            def follow(event: dict[str, Any]) -> None:
                pass_on(event)
                see(event)

            return self._fit(data, state, follow)

    def _fit(
        self, data: TrainingData, state: Path | None, follow: Callable[[dict[str, Any]], None]
    ) -> Trained:
        return fit(
            self.method,
            data,
            self.resolution.recipe,
            self.engine,
            selection=self.request.protocol.selection,
            metric=self.request.protocol.selection_metric,
            validate_every=self.request.profile.validate_every,
            seed=self.request.seed,
            resume_file=state,
            on_progress=follow,
            also_test=self.request.protocol.optimism,
        )

    def epoch_seconds(self) -> float:
        """Seconds of one training epoch, from a few steps after the first; keeps nothing."""
        moments: list[float] = []
        steps = 1

        def follow(event: dict[str, Any]) -> None:
            nonlocal steps
            wait_for(self.engine.device)
            if "step" in event:
                moments.append(time.monotonic())
                steps = event["steps"]
            if "step" not in event or len(moments) > TIMED_STEPS:
                raise _Enough

        data, moments[:] = self.data, [time.monotonic()]
        try:
            with self.engine.numerics():
                self._fit(data, None, follow)
        except _Enough:
            pass
        # The first step is slower than the rest; it counts where the epoch has no other.
        first = 1 if len(moments) > 2 else 0
        return (moments[-1] - moments[first]) / (len(moments) - 1 - first) * steps

    def store_weights(self) -> str:
        """Write the method's own weights; returns the file's sha256."""
        save_tensors(self.folder / WEIGHTS, own_state(self.method))
        return file_digest(self.folder / WEIGHTS)

    def load_weights(self) -> None:
        """Read the weights that the cell stored."""
        load_own_state(self.method, load_file(self.folder / WEIGHTS))

    def predict(self, test: TestSet) -> tuple[Predictions, CaseArrays]:
        """(predicted masks of a test set, the arrays that hold its target masks)."""
        ids = self.sources.test_cases(test, self.request.protocol)
        target = self.target(test.dataset)
        cases = target.rows(ids)
        images = self.arrays(test.dataset).images[cases]
        probs = probabilities(self.method, images, self.engine, self.request.seed, case_ids=ids)
        height, width = target.masks.shape[1:]
        sizes = target.native_masks.shapes[cases].tolist()
        with self.engine.numerics():
            network, native = masks_on_grids(probs, (height, width), ((h, w) for h, w in sizes))
        return Predictions(ids, tuple(network), tuple(native)), target

    def memory(self) -> dict[str, int]:
        """Bytes of GPU memory: the most that this cell held, and all that there is; {} on a CPU."""
        if self.engine.device.type != "cuda":
            return {}
        total = torch.cuda.get_device_properties(self.engine.device).total_memory
        return {"peak_bytes": peak_bytes(self.engine.device), "device_bytes": total}

    def record(self, trained: Trained, spent: dict[str, Any]) -> CellRecord:
        """The record of the trained cell, without its files and test sets."""
        trainable, total = parameter_counts(self.method, self.tokenizer)
        return CellRecord(
            id=self.job.id,
            status="done",
            key=self.resolution.key,
            request=self.job.request_digest,
            inputs=self.job.inputs,
            recipe=self.resolution.recipe.model_dump(mode="json"),
            network_size=self.resolution.network_size,
            title=self.spec.title,
            family=self.spec.family,
            trainable_params=trainable,
            total_params=total,
            footnotes=self.method.footnotes + compiled_footnotes(compiled_facts(self.method)),
            provenance=environment() | spent | self._facts(trained),
        )

    def _facts(self, trained: Trained) -> dict[str, Any]:
        """What a reader of the record may ask about how it came about."""
        split, latents = self.data.split, self.data.latents
        sides = {name: len(getattr(split, name)) for name in ("train", "val", "test")}
        return {
            "device": device_name(self.engine.device),
            "peak_memory_bytes": peak_bytes(self.engine.device),
            "peak_memory_of": "cell" if self._own_peak else "worker process",
            "request": self.request.model_dump(mode="json"),
            "count_explanation": self.spec.count_explanation,
            "selected_epoch": trained.epoch,
            "initial_weights": self.resolution.initial_weights,
            "normalise": self.method.normalise.words,
            "images_seen": images_per_epoch(self.resolution.recipe, len(split.train))
            * len(trained.history),
            "own_length": self._own_length(len(split.train)),
            "optimism": optimism(trained.history),
            "leaks": self.sources.leaks(self.request.train, self.request.protocol),
            "cards": self.sources.card_hashes(),
            "device_class": "CPU" if self.engine.device.type == "cpu" else "GPU",
            "split": {"scheme": split.scheme, "seed": split.seed} | sides | self._origin(split),
            "precision": self.engine.precision,
            "tokenizer_weights": self._tokenizer_weights(),
            "tf32": self.engine.tf32_operations,
            "deterministic": self.engine.deterministic,
            "cudnn_benchmark": False,  # as `Engine.numerics` sets it
            "channels_last": self.engine.channels_last,
            "compile": self.engine.compile,
            "compiled": compiled_facts(self.method),
            "threads": torch.get_num_threads(),
            "latent_cache": None if latents is None else latents.counts(),
        }

    def _tokenizer_weights(self) -> str | None:
        """The type that the tokenizer's weights have when the method runs; None without one."""
        if self.tokenizer is None:
            return None
        return "bf16" if self.request.profile.rounds_tokenizers else "fp32"

    def _own_length(self, cases: int) -> dict[str, int | None] | None:
        """The recipe's own length where a profile or budget gave it another and kept its shape."""
        own, ran = full_recipe(self.spec, self.request), self.resolution.recipe
        lengths = ("epochs", "steps_per_epoch")
        stated = {*self.request.recipe, *self.request.profile.recipe}.intersection(lengths)
        length = own.model_dump(include=set(lengths))
        if stated or length == ran.model_dump(include=set(lengths)):
            return None
        seen = ran.model_copy(update=length)  # at the batch size that ran
        return length | {"images": images_per_epoch(seen, cases) * own.epochs}

    def _origin(self, split: Split) -> dict[str, str]:
        """The file that an imported split comes from."""
        imported = self.sources.index(self.request.train).imported
        return {"origin": imported.origin} if split.scheme == "imported" and imported else {}


def _store_every_epoch() -> None:
    """Make the trainer store its state after each epoch from now on; the process is to end."""
    trainer.SECONDS_BETWEEN_CHECKPOINTS = -1.0


def optimism(history: list[dict[str, float]]) -> float | None:
    """Best test DSC of any epoch minus the test DSC of the epoch that validation picks, in [0, 1];
    None unless both were measured."""
    both = [
        row for row in history if not (math.isnan(row["val_dsc"]) or math.isnan(row["test_dsc"]))
    ]
    if not both:
        return None
    picked = max(both, key=lambda row: row["val_dsc"])  # the earlier epoch wins a tie
    return max(row["test_dsc"] for row in both) - picked["test_dsc"]


def _progress(report: Callable[[Progress], None]) -> Callable[[dict[str, Any]], None]:
    """The trainer's progress as messages; steps only every half second."""
    last = 0.0

    def pass_on(event: dict[str, Any]) -> None:
        nonlocal last
        if "step" not in event:
            row = {
                name: None if math.isnan(value) else value
                for name, value in event.items()
                if name != "epochs"
            }
            report(Epoch(epoch=event["epoch"], epochs=event["epochs"], row=row))
        elif time.monotonic() - last > SECONDS_BETWEEN_STEPS:
            last = time.monotonic()
            report(Step(**event))

    return pass_on
