"""The contract of a method: a class with defaults to override. It needs torch."""

from torch import Tensor, nn

from bench.contracts import Batch, LatentKind, Tokenizer


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

    tokenizer: Tokenizer | None
    """The frozen tokenizer, where the method keeps one: its weights are not stored with a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name: the optimizer minimises "loss", the others are logged.

        Called in train mode. Randomness is drawn from torch's global generator.
        """
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities float32 in [0, 1], (N, 1, S, S), of images float32 in [0, 1], (N, 3, S, S).

        Called in eval mode without gradients. Randomness is drawn from torch's global generator,
        which the harness seeds per batch.
        """
        raise NotImplementedError

    def predict_latents(self, image_latents: Tensor) -> Tensor:
        """`predict` from the latents of the images, float32 (N, C, S/f, S/f).

        Optional: a method that overrides it is validated from stored latents.
        """
        raise NotImplementedError

    def predict_step(self, images: Tensor) -> Tensor:
        """What GMACs and latency are measured on: images (N, 3, S, S) to any tensor.

        Override it where `predict` repeats one step many times (sampling, mirrored views).
        """
        return self.predict(images)

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
)
"""Attributes of `Method` that a plain network may declare on itself."""

METHOD_POWERS = ("loss", "predict", "predict_latents", "predict_step", "latent_inputs")
"""What only a `Method` has: a plain network that carries one of these names is refused."""


def to_images(pixels: Tensor) -> Tensor:
    """float32 in [0, 1], (N, 3, H, W), of uint8 (N, H, W, 3)."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)
