"""From a trained method to probabilities, masks and per-case rows."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.core.errors import BenchError
from bench.method import Method, to_images
from bench.metrics.overlap import dice
from bench.protocols import SelectionMetric
from bench.training.engine import Engine, tf32
from bench.training.seeds import seed_for
from bench.training.transfers import download

THRESHOLD = 0.5

SOFT_DICE_BATCH = 8
"""Images of a batch over which the soft Dice is averaged: those of GMS's validation loader."""


class PredictionFailure(BenchError):
    """A method's predictions cannot be scored; the text says what they are and must be."""


def probabilities(
    method: Method,
    pixels: np.ndarray,
    engine: Engine,
    seed: int,
    latents: Tensor | None = None,
    *,
    case_ids: Sequence[str] | None = None,
) -> Iterator[Tensor]:
    """Probabilities float32 (n, 1, H, W), batch by batch in order, of uint8 images (N, H, W, 3).

    As `predictions`; raises PredictionFailure also unless every batch is finite and in [0, 1].
    """
    there = torch.tensor(pixels)  # a copy: read-only cache
    for probs in predictions(method, there, engine, seed, latents, case_ids=case_ids):
        # Both bounds come to the host in one transfer, so a batch waits once for the device.
        low, high = torch.stack(torch.aminmax(probs)).tolist()
        _require_range(low, high, type(method.authored).__name__)
        yield probs


def predictions(
    method: Method,
    pixels: Tensor,
    engine: Engine,
    seed: int,
    latents: Tensor | None = None,
    *,
    case_ids: Sequence[str] | None = None,
    validating: bool = False,
) -> Iterator[Tensor]:
    """What the method predicts as float32 (n, 1, H, W), batch by batch in order; values unchecked.

    pixels: uint8 (N, H, W, 3). latents: the images' latents where they are stored and the method
    predicts from them. What lies on the engine's device already is not sent, and the host waits for
    nothing. case_ids: of the images, None for "0", "1", ...; with the seed, they decide the noise
    that `Method.noise` draws. validating: whether predictions only choose an epoch, for which a
    method may have a cheaper way. torch's own generator is seeded per batch and put back
    afterwards: methods that draw from it give the same answer at every call with the same batches,
    and training's random stream is left alone. Raises PredictionFailure unless every batch is one
    map per image.
    """
    method.eval()
    names = [str(row) for row in range(len(pixels))] if case_ids is None else case_ids
    devices = [engine.device] if engine.device.type == "cuda" else []
    for start in range(0, len(pixels), engine.batch_size):
        part = pixels[start : start + engine.batch_size]
        own = _streams(method, seed, names[start : start + len(part)])
        with own, torch.random.fork_rng(devices), torch.inference_mode(), engine.autocast():
            torch.manual_seed(seed_for(seed, "predict", start))
            if latents is not None:
                encoded = latents[start : start + len(part)].to(engine.device)
                probs = method.predict_latents(encoded)
            else:
                images = engine.place(to_images(part.to(engine.device)))
                probs = _of_images(method, images, validating)
        yield _shaped(probs, (len(part), 1, *part.shape[1:3]), method)


def _of_images(method: Method, images: Tensor, validating: bool) -> Tensor:
    """The method's prediction for images on its device.

    A method that predicts from latents gets them in float32, whatever the precision: as the stored
    ones are that its epoch was chosen on.
    """
    if method.predicts_from_latents and method.tokenizer is not None:
        with torch.autocast(images.device.type, enabled=False), tf32("off"):
            latents = method.tokenizer.encode(images)
        return method.predict_latents(latents)
    return method.predict_for_validation(images) if validating else method.predict(images)


@contextmanager
def _streams(method: Method, seed: int, case_ids: Sequence[str]) -> Iterator[None]:
    """Within the block, `method.noise` draws for these cases, in order."""
    seeds = [seed_for(seed, "predict case", case_id) for case_id in case_ids]
    method.streams = [torch.Generator().manual_seed(one) for one in seeds]
    try:
        yield
    finally:
        method.streams = None


def _shaped(probs: Tensor, shape: tuple[int, ...], method: Method) -> Tensor:
    """The probabilities as float32; PredictionFailure unless they are a tensor of that shape."""
    kind = type(method.authored).__name__
    if not isinstance(probs, Tensor):
        raise PredictionFailure(f"{kind} predicts {type(probs).__name__}, not a torch.Tensor.")
    if tuple(probs.shape) != shape:
        raise PredictionFailure(
            f"{kind} predicts shape {tuple(probs.shape)}; it must be {shape}: one map of "
            "probabilities per image, as large as the image."
        )
    return probs.float()


def _require_range(low: float, high: float, kind: str) -> None:
    """PredictionFailure unless [low, high], NaN where any value is NaN, lies in [0, 1]."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise PredictionFailure(f"{kind} predicts NaN or infinity; probabilities are finite.")
    if low < 0 or high > 1:
        raise PredictionFailure(
            f"{kind} predicts values in [{low:.9g}, {high:.9g}]; probabilities lie in [0, 1]. Apply "
            "a sigmoid or clamp."
        )


def resize_probs(probs: Tensor, height: int, width: int) -> Tensor:
    """Probabilities (N, 1, h, w) on another grid, bilinear."""
    if probs.shape[-2:] == (height, width):
        return probs
    return F.interpolate(probs, (height, width), mode="bilinear", align_corners=False)


def validation_scores(
    probs: Iterator[Tensor],
    masks: np.ndarray | Tensor,
    metric: SelectionMetric = "dsc",
    kind: str = "The method",
) -> dict[str, float]:
    """Scores in [0, 1] of probabilities against bool masks (N, H, W).

    "dsc": mean DSC per image of thresholded probabilities; pixels are counted on the device, and
    all counts come to the CPU in one transfer at the end, the only one that the host waits for
    where the masks lie on the device. "soft_dice", under the metric of that name: as released
    with GMS (train.py:222-236), 2 sum(p m) / (sum p + sum m) per image, averaged over batches of
    SOFT_DICE_BATCH images in order, then over the batches, the last of which may be smaller. An
    image with p and m all zero scores 1, where the release divides by zero. kind: whose
    probabilities they are. Raises PredictionFailure unless they are finite and in [0, 1].
    """
    found: dict[str, list[Tensor]] = {"counts": [], "bounds": [], "soft": []}
    start = 0
    for chunk in probs:
        part = masks[start : start + len(chunk)]
        target = (part if isinstance(part, Tensor) else torch.tensor(part)).to(chunk.device)
        start += len(chunk)
        found["bounds"].append(torch.stack(torch.aminmax(chunk)))
        chunk = resize_probs(chunk, *target.shape[1:])[:, 0]
        pred = chunk > THRESHOLD
        counts = [mask.flatten(1).sum(1) for mask in (pred & target, pred, target)]
        found["counts"].append(torch.stack(counts))
        if metric == "soft-dice":
            found["soft"].append(_soft_dice(chunk, target))
    here = download({name: torch.cat(parts, -1) for name, parts in found.items() if parts})
    for low, high in here["bounds"].view(2, -1).T.tolist():
        _require_range(low, high, kind)
    scores = {"dsc": float(np.mean(dice(*here["counts"].numpy())))}
    if metric == "soft-dice":
        soft_dice = here["soft"].double().numpy()
        starts = range(0, len(soft_dice), SOFT_DICE_BATCH)
        means = [np.mean(soft_dice[start : start + SOFT_DICE_BATCH]) for start in starts]
        scores["soft_dice"] = float(np.mean(means))
    return scores


def _soft_dice(probs: Tensor, masks: Tensor) -> Tensor:
    """float32 (n,) of probabilities and bool masks (n, H, W)."""
    overlap, size = (probs * masks).sum((1, 2)), probs.sum((1, 2)) + masks.sum((1, 2))
    return torch.where(size > 0, 2 * overlap / size, 1.0)


def mean_dsc(probs: Iterator[Tensor], masks: np.ndarray) -> float:
    """Mean DSC per image in [0, 1] of thresholded probabilities against bool masks (N, H, W)."""
    return validation_scores(probs, masks)["dsc"]


def masks_on_grids(
    probs: Iterator[Tensor], grid: tuple[int, int], native: Iterable[tuple[int, int]]
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    """(masks on the network grid, masks on each image's native grid), bool (H, W) each, in order.

    probs: batches float32 (n, 1, h, w). grid: (H, W) of the network grid; native: (H, W) of each
    case. Probabilities are resized first (bilinear) and thresholded on the grid that they are
    scored on: a thresholded mask that is enlarged would keep the network grid's staircase.
    """
    on_network: list[NDArray[np.bool_]] = []
    on_native: list[NDArray[np.bool_]] = []
    shapes = iter(native)
    for chunk in probs:
        on_network += list((resize_probs(chunk, *grid)[:, 0] > THRESHOLD).cpu().numpy())
        for index in range(len(chunk)):
            own = resize_probs(chunk[index : index + 1], *next(shapes))[0, 0]
            on_native.append((own > THRESHOLD).cpu().numpy())
    return on_network, on_native
