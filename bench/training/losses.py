"""Losses of networks that only map images to logits, by the name a recipe gives.

logits: float (N, 1, H, W), any real. masks: float32 in {0, 1}, (N, 1, H, W). Each loss returns a
scalar.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Batch
from bench.core.errors import unknown_name
from bench.method import NETWORK_POWERS, Method, Normalisation, Normalise


def soft_dice_loss(
    probs: Tensor, masks: Tensor, smooth: float = 1e-5, squared: bool = False
) -> Tensor:
    """1 - mean over images of (2 I + smooth) / (P + M + smooth), in [0, 1].

    I = sum p m, P = sum p (or p^2 when squared), M = sum m. Source: Milletari et al. 2016
    (V-Net, squared); Sudre et al. 2017 (plain).
    """
    axes = (1, 2, 3)
    overlap = (probs * masks).sum(axes)
    size = (probs.square() if squared else probs).sum(axes) + masks.sum(axes)
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


def bce_dice(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross-entropy plus soft Dice loss, equal weights."""
    return F.binary_cross_entropy_with_logits(logits, masks) + soft_dice_loss(
        logits.sigmoid(), masks
    )


def balanced_bce_dice(logits: Tensor, masks: Tensor) -> Tensor:
    """0.5 x balanced BCE + 0.5 x soft Dice, as the ACC-UNet harness trains its six networks.

    Balanced BCE averages the mean over foreground pixels and the mean over background pixels, both
    taken over the whole batch; a class without pixels contributes 0. Dice is per image with squared
    denominators; the harness scales both operands by 0.5, so its smoothing of 1e-5 acts as 4e-5.
    """
    bce = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    foreground, background = masks, 1 - masks
    balanced = 0.5 * (
        (bce * foreground).sum() / foreground.sum().clamp(min=1)
        + (bce * background).sum() / background.sum().clamp(min=1)
    )
    return 0.5 * balanced + 0.5 * soft_dice_loss(logits.sigmoid(), masks, smooth=4e-5, squared=True)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": lambda logits, masks: F.binary_cross_entropy_with_logits(logits, masks),
    "bce+dice": bce_dice,
    "balanced-bce+dice": balanced_bce_dice,
}


def get_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss called `name`; BenchError with the nearest match if unknown."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name]


class LogitsMethod(Method):
    """A method out of a network that maps images to logits (N, 1, H, W).

    The network may declare `NETWORK_POWERS` on itself, with names relative to itself. They are read
    here and nowhere else, and become names of this method by the prefix "network.".
    """

    normalisation: Normalisation = "none"

    def __init__(self, network: nn.Module, loss: str) -> None:
        super().__init__()
        self.network = network
        self._loss = get_loss(loss)
        declared = {
            name: getattr(network, name) for name in NETWORK_POWERS if hasattr(network, name)
        }
        for name in ("unused_parameters", "head_parameters"):
            if name in declared:
                declared[name] = tuple(f"network.{own}" for own in declared[name])
        for name, value in declared.items():
            setattr(self, name, value)
        self.normalise = Normalise(self.normalisation)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss": the recipe's loss of the network's logits}."""
        return {"loss": self._loss(self._logits(batch.images), batch.masks)}

    def predict(self, images: Tensor) -> Tensor:
        """Sigmoid of the logits, float32 (N, 1, H, W)."""
        return self._logits(images).sigmoid()

    def _logits(self, images: Tensor) -> Tensor:
        """float32 (N, 1, H, W) of images in [0, 1]."""
        return self.network(self.normalise(images)).float()

    @property
    def authored(self) -> nn.Module:
        """The network."""
        return self.network
