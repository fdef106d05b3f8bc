"""What a method and a tokenizer are to the harness. Torch-free: names and shapes only.

A plugin author writes one `MethodSpec` (entry-point group `bench.methods`, or `--plugin FILE`).
Its `build(settings, context)` returns a `torch.nn.Module` of one of two kinds:

- a *network*: `forward(images) -> logits` (N, 1, H, W). The harness supplies the recipe's loss
  and the sigmoid.
- a *method*: a subclass of `bench.method.Method`, which has an objective of its own and says what
  else can be overridden.

images: float32 in [0, 1], (N, 3, H, W). masks: float32 in {0, 1}, (N, 1, H, W).
probs: float32 in [0, 1], (N, 1, H, W).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.core.errors import unknown_name
from bench.core.frozen import Frozen
from bench.recipes import SHARED, Original, Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


LatentKind = Literal["image", "mask"]
"""What a tokenizer encodes for a training batch."""

PRESETS = ("light", "minimal", "as-released")
"""Names of a method's presets. "light": settings for less work, without downloads; "minimal" adds its
own entries to those of "light". "as-released": what the released code does where the default is
another."""


class Settings(Frozen):
    """A method's own options: JSON-able, frozen, unknown fields refused."""


@dataclass(frozen=True)
class BuildContext:
    """What the harness gives a method when it builds it.

    image_size: side of the square images that the network will see, after `SizeRule`.
    tokenizer: the frozen tokenizer of the cell, or None where the method takes none.
    load_weights: False when only the architecture matters (counting on the meta device): then
        nothing pretrained may be read or fetched.
    """

    image_size: int = 224
    tokenizer: "Tokenizer | None" = None
    load_weights: bool = True


@dataclass
class Batch:
    """One training batch on the device.

    images: float32 in [0, 1], (N, 3, H, W); masks: float32 in {0, 1}, (N, 1, H, W).
    image_latents, mask_latents: float32 (N, C, H/f, W/f), None unless the method's `latent_inputs`
        name them.
    image_latents_std: standard deviation of the images' posterior, where the tokenizer has one.
    """

    images: "Tensor"
    masks: "Tensor"
    image_latents: "Tensor | None" = None
    mask_latents: "Tensor | None" = None
    image_latents_std: "Tensor | None" = None


@dataclass(frozen=True)
class SizeRule:
    """The square image sizes a network takes: exactly `fixed`, or multiples of `multiple`.

    The harness resizes images to `fit(size)` for the network and probabilities back, so every
    method is scored on the same grid.
    """

    multiple: int = 1
    fixed: int | None = None

    def fit(self, size: int) -> int:
        """The side the network gets when the harness works at `size`: never smaller."""
        if self.fixed is not None:
            return self.fixed
        return -(-size // self.multiple) * self.multiple


@dataclass(frozen=True)
class MethodSpec:
    """What the harness reads of a method before building it.

    name: as typed by users; title: as printed in tables; family: the tables' row group.
    build: `(settings, context) -> nn.Module`, a network or a `bench.method.Method`.
    recipe: the native recipe, as the method's authors train it. alternatives: further native recipes,
        chosen by --set recipe.name=NAME. original: what the authors do, and what differs here.
    tokenizer: the role of tokenizer it needs, "continuous" or "discrete" (the profile names which
        tokenizer plays that role), or None.
    reference_tokenizer: the tokenizer of the method's authors, with which its counts are stated;
        None for the paper profile's.
    summary, citation, upstream, licence: what `bench describe` prints.
    count_explanation: why the exact count differs from the paper's printed one, if it does.
    reduced: settings under which the contract test can overfit on a CPU in seconds.
    presets: settings that a profile or a protocol asks for, by a name of `PRESETS`.
    weights_setting: the setting that names pretrained initial weights, where the method has one;
    None or "none" there means random.
    search: what `bench tune` searches otherwise than in its common space: name of a parameter, as
        "recipe.lr" or "SETTING" -> its fields as in bench/defaults/space.toml; None leaves it out.
    """

    name: str
    title: str
    family: str
    build: "Callable[[Any, BuildContext], nn.Module]"
    summary: str
    citation: str
    upstream: str = ""
    licence: str = ""
    settings: type[Settings] = Settings
    recipe: Recipe = SHARED
    alternatives: tuple[Recipe, ...] = ()
    original: Original | None = None
    size: SizeRule = field(default_factory=SizeRule)
    tokenizer: str | None = None
    reference_tokenizer: str | None = None
    count_explanation: str = ""
    reduced: dict[str, Any] = field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights_setting: str = "pretrained"
    search: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def native(self, name: str) -> Recipe:
        """The native recipe called `name`; BenchError with the nearest match if there is none."""
        known = {recipe.name: recipe for recipe in (self.recipe, *self.alternatives)}
        if name not in known:
            raise unknown_name(f"recipe of {self.name}", name, known)
        return known[name]

    def preset(self, name: str | None) -> dict[str, Any]:
        """The settings that a preset changes; {} for None and where nothing is declared.

        Raises BenchError for a name that is not in `PRESETS`.
        """
        if name is None:
            return {}
        if name not in PRESETS:
            raise unknown_name("preset", name, PRESETS)
        own = self.presets.get(name, {})
        return self.presets.get("light", {}) | own if name == "minimal" else dict(own)


class Tokenizer(Protocol):
    """A frozen image tokenizer: an `nn.Module` whose parameters never require gradients."""

    name: str
    latent_channels: int
    factor: int  # an image of side S has latents of side S / factor
    has_posterior: bool  # posterior() gives a standard deviation
    num_tokens: int | None  # size of the codebook, None when continuous
    weights_hash: str  # sha256 over names, shapes and bytes of the weights, "untrained" without any

    def encode(self, images: "Tensor") -> "Tensor":
        """Scaled latents float32 (N, C, H/f, W/f) of images in [0, 1]: the posterior's mean."""
        ...

    def posterior(self, images: "Tensor") -> "tuple[Tensor, Tensor]":
        """(mean, standard deviation), both scaled like `encode`; ValueError without a posterior."""
        ...

    def decode(self, latents: "Tensor") -> "Tensor":
        """Images (N, 3, H, W), nominally in [0, 1] and not clamped; differentiable in `latents`."""
        ...

    def decode_mean(self, latents: "Tensor") -> "Tensor":
        """The mean channel of `decode`, (N, 1, H, W); differentiable in `latents`."""
        ...

    def encode_tokens(self, images: "Tensor") -> "Tensor":
        """Code indices int64 (N, H/f, W/f); ValueError for a continuous tokenizer."""
        ...

    def decode_tokens(self, tokens: "Tensor") -> "Tensor":
        """Images of code indices (N, H/f, W/f), as `decode`."""
        ...
