"""A method under check: built without weights, with four small phantoms on a CPU."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Batch, BuildContext, MethodSpec, Settings, Tokenizer
from bench.data.arrays import CaseArrays, phantom_arrays
from bench.method import Method
from bench.protocols import get_profile
from bench.recipes import SHARED, Recipe
from bench.training.batches import TrainingBatches
from bench.training.build import build_method, load_tokenizer
from bench.training.engine import Engine
from bench.training.latents import LatentSource
from bench.training.predict import probabilities

SIDE = 64  # px, before the method's own size rule
STYLE = "ham10000"
CASES = 4
CPU = torch.device("cpu")


class Subject:
    """A method under check, with its phantoms. Use as a context manager: it owns a cache folder."""

    def __init__(self, spec: MethodSpec, settings: Settings) -> None:
        self.spec, self.settings = spec, settings
        self.side = spec.size.fit(SIDE)
        self._stack = ExitStack()
        self._built: Method | None = None
        self._tokenizer: Tokenizer | None = None

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._stack.enter_context(torch.random.fork_rng([]))
        self.arrays: CaseArrays = phantom_arrays(STYLE, CASES, self.side, 0, self.folder)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The demo profile's tokenizer for the method's role, loaded once."""
        if self._tokenizer is None and self.spec.tokenizer is not None:
            self._tokenizer = load_tokenizer(self.spec, None, get_profile("demo").tokenizers)
        return self._tokenizer

    def build(self, seed: int = 0) -> Method:
        """A fresh method, without pretrained weights."""
        torch.manual_seed(seed)
        context = BuildContext(self.side, self.tokenizer, load_weights=False)
        return build_method(self.spec, self.settings, context, self.spec.recipe)

    @property
    def built(self) -> Method:
        """One instance for the checks that leave weights alone."""
        if self._built is None:
            self._built = self.build()
        return self._built

    def recipe(self, cases: int, steps: int = 1, epochs: int = 1) -> Recipe:
        """Adam at a constant rate, no augmentation, all cases in each batch."""
        changes = {
            "name": "contract",
            "optimizer": "adam",
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup": 0.0,
            "epochs": epochs,
            "steps_per_epoch": steps,
            "batch_size": cases,
            "augmentation": "none",
        }
        return SHARED.model_copy(update=changes)

    def batches(self, recipe: Recipe) -> TrainingBatches:
        """The batches of a training run under this recipe."""
        latents = None
        if self.tokenizer is not None and self.built.latent_inputs:
            latents = LatentSource(
                self.tokenizer,
                self.arrays,
                self.folder / "latents",
                CPU,
                kinds=self.built.latent_inputs,
            )
        rows = np.arange(recipe.batch_size)
        return TrainingBatches(self.arrays, rows, recipe, 0, CPU, latents)

    def batch(self, cases: int) -> Batch:
        """One training batch of the first `cases` phantoms, in a fixed order."""
        return next(self.batches(self.recipe(cases)).epoch(0))

    def predict(
        self, method: Method, cases: list[int], seed: int = 0, precision: str = "fp32"
    ) -> Tensor:
        """Probabilities of some phantoms, as the harness asks for them."""
        engine = Engine(CPU, precision)
        images, ids = self.arrays.images[cases], [self.arrays.case_ids[case] for case in cases]
        return torch.cat(list(probabilities(method, images, engine, seed, case_ids=ids)))

    def loss(self, method: Method, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
        """The loss in train mode, drawn from a fixed seed."""
        method.train()
        torch.manual_seed(seed)
        return method.loss(batch)
