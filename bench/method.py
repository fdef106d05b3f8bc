"""The contract of a method: a class with defaults to override. It needs torch."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bench.contracts import Batch, LatentKind, Tokenizer
from bench.core.errors import BenchError, unknown_name

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels, of images in [0, 1]."""

Named = Literal["none", "imagenet", "zscore", "stretch", "encoder"]
Normalisation = Named | tuple[Sequence[float], Sequence[float]]


class Normalise(nn.Module):
    """Images float (N, 3, H, W) in [0, 1] as a network takes them.

    how: "none": unchanged. "imagenet": less ImageNet's mean, over its SD, per channel. "zscore":
    less each image's own mean, over its own SD, per channel. "stretch": each image's range over all
    its channels stretched to 0..255. (mean, SD), three numbers each: those of an encoder's
    pretraining, which are stored with a cell's weights. "encoder": the same, before they are read.
    Raises BenchError for anything else.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, how: Normalisation) -> None:
        super().__init__()
        if isinstance(how, str) and how not in get_args(Named):
            raise unknown_name("normalisation", how, get_args(Named))
        self.how = how
        known = {"imagenet": IMAGENET, "encoder": ((math.nan,) * 3, (math.nan,) * 3)}
        values = known.get(how) if isinstance(how, str) else how
        if values is not None:
            if [len(three) for three in values] != [3, 3] or min(values[1]) <= 0:
                raise BenchError(
                    f"normalisation is {how!r}; a pair is (mean, SD), three numbers each, SDs above 0."
                )
            for name, three in zip(("mean", "std"), values, strict=True):
                self.register_buffer(
                    name, torch.tensor(three).view(1, 3, 1, 1), persistent=how != "imagenet"
                )

    def forward(self, images: Tensor) -> Tensor:
        if self.how == "none":
            return images
        if self.how == "zscore":
            std, mean = torch.std_mean(images, dim=(2, 3), correction=0, keepdim=True)
            return (images - mean) / std.clamp(min=1e-8)
        if self.how == "stretch":
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            return (images - low) / (high - low).clamp(min=1e-6) * 255
        return (images - self.mean) / self.std

    @property
    def words(self) -> str:
        """`how`, with the numbers of a mean and SD of an encoder's own."""
        if isinstance(self.how, str):
            return self.how
        if tuple(map(tuple, self.how)) == IMAGENET:
            return "imagenet"
        mean, std = (" ".join(f"{value:g}" for value in three) for three in self.how)
        return f"mean {mean}, SD {std}"


class Method(nn.Module):
    """A segmentation method with an objective of its own: override `loss` and `predict`.

    Everything else has a default. A subclass overrides a default on the class, or in `__init__`
    where the value depends on the settings. A network that only maps images to logits needs no
    subclass: the harness wraps it, and reads `NETWORK_POWERS` from it where it declares them.

    Names of parameters are those of the object that declares them, as in `named_parameters()`.
    """

    latent_inputs: tuple[LatentKind, ...] = ()
    """Which latents `loss` reads, of "image" and "mask". The others are not encoded: in the batch
    they are None. "image" includes the standard deviation of the image's posterior."""

    unused_parameters: tuple[str, ...] = ()
    """Full names of trainable parameters that never receive a gradient, kept because they count."""

    head_parameters: tuple[str, ...] = ()
    """Prefixes of the names of the parameters that learn at `recipe.head_lr` times the rate."""

    footnotes: tuple[str, ...] = ()
    """Remarks on this run, printed below every table with a row of this method."""

    bf16_unsupported: str = ""
    """Why the method cannot run under bfloat16 autocast; empty where it can."""

    overfit_steps: int | None = None
    """Optimizer steps of `bench check method`'s overfitting check; None for its default."""

    normalisation: Normalisation | None = None
    """What `loss` and `predict` put their images through, by `self.normalise(images)`. A recipe may
    ask for another one. None: they leave images in [0, 1], and a recipe cannot ask."""

    normalise: Normalise
    """Made of `normalisation`, or of the recipe's, by the harness."""

    streams: list[torch.Generator] | None
    """While the harness predicts, a source of random numbers per image; see `noise`."""

    tokenizer: Tokenizer | None
    """The frozen tokenizer, where the method keeps one: its weights are not stored with a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = None
        self.normalise = Normalise(self.normalisation or "none")
        self.streams = None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name: the optimizer minimises "loss", the others are logged.

        Called in train mode. Randomness is drawn from torch's global generator.
        """
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities float32 in [0, 1], (N, 1, S, S), of images float32 in [0, 1], (N, 3, S, S).

        Called in eval mode without gradients. Draw randomness with `noise`: then an image's
        prediction does not depend on its batch. The harness seeds torch's global generator per batch.
        """
        raise NotImplementedError

    def predict_for_validation(self, images: Tensor) -> Tensor:
        """`predict` during training, where the epoch is chosen.

        Override it where a whole prediction costs too much to repeat after every epoch.
        """
        return self.predict(images)

    def predict_latents(self, image_latents: Tensor) -> Tensor:
        """`predict` from the latents of the images, float32 (N, C, S/f, S/f).

        Optional. The harness calls it in place of `predict`, in validation with stored latents, with
        latents that `tokenizer` encoded in float32: it must give what `predict` gives.
        """
        raise NotImplementedError

    def predict_step(self, images: Tensor) -> Tensor:
        """What GMACs and latency are measured on: images (N, 3, S, S) to any tensor.

        Override it where `predict` repeats one step many times (sampling, mirrored views).
        """
        return self.predict(images)

    def noise(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Standard normal noise float32 of a shape (N, ...).

        While the harness predicts, row i comes from a stream of image i's own, seeded by the cell's
        seed and the case id: the same whatever images share its batch, on every device. Otherwise it
        comes from torch's global generator.
        """
        if self.streams is None:
            return torch.randn(*shape, device=device)
        rows = [torch.randn(*shape[1:], generator=stream) for stream in self.streams]
        return torch.stack(rows).to(device)

    @property
    def predicts_from_latents(self) -> bool:
        """Whether `predict_latents` is available."""
        return type(self).predict_latents is not Method.predict_latents

    @property
    def repeats_a_step(self) -> bool:
        """Whether `predict_step` is less than a whole prediction."""
        return type(self).predict_step is not Method.predict_step

    @property
    def authored(self) -> nn.Module:
        """The module that the plugin's author wrote: this method, or the network that it wraps."""
        return self


NETWORK_POWERS = (
    "unused_parameters",
    "head_parameters",
    "footnotes",
    "bf16_unsupported",
    "overfit_steps",
    "normalisation",
)
"""Attributes of `Method` that a plain network may declare on itself."""

METHOD_POWERS = (
    "loss",
    "predict",
    "predict_for_validation",
    "predict_latents",
    "predict_step",
    "latent_inputs",
)
"""What only a `Method` has: a plain network that carries one of these names is refused."""


def to_images(pixels: Tensor) -> Tensor:
    """float32 in [0, 1], (N, 3, H, W), of uint8 (N, H, W, 3)."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)
