"""From a trained method to probabilities, masks and per-case rows."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.method import to_images
from bench.training.engine import Engine
from bench.training.seeds import seed_for

THRESHOLD = 0.5


def probabilities(
    method: Any,  # an nn.Module that is a FullMethod; Python cannot say both
    pixels: np.ndarray,
    engine: Engine,
    seed: int,
    latents: Tensor | None = None,
) -> Iterator[Tensor]:
    """Probabilities float32 (n, 1, H, W), batch by batch in order, of uint8 images (N, H, W, 3).

    latents: the images' latents where they are cached and the method predicts from them. torch's
    generator is seeded per batch and put back afterwards: sampling methods give the same answer at
    every call and leave training's random stream alone.
    """
    method.eval()
    devices = [engine.device] if engine.device.type == "cuda" else []
    for start in range(0, len(pixels), engine.batch_size):
        stop = start + engine.batch_size
        with torch.random.fork_rng(devices), torch.inference_mode(), engine.autocast():
            torch.manual_seed(seed_for(seed, "predict", start))
            if latents is not None:
                probs = method.predict_latents(latents[start:stop].to(engine.device))
            else:
                chunk = torch.tensor(pixels[start:stop])  # a copy: the cache is read-only
                probs = method.predict(engine.place(to_images(chunk.to(engine.device))))
        yield probs.float()


def resize_probs(probs: Tensor, height: int, width: int) -> Tensor:
    """Probabilities (N, 1, h, w) on another grid, bilinear."""
    if probs.shape[-2:] == (height, width):
        return probs
    return F.interpolate(probs, (height, width), mode="bilinear", align_corners=False)


def mean_dsc(probs: Iterator[Tensor], masks: np.ndarray) -> float:
    """Mean DSC per image in [0, 1] of thresholded probabilities against bool masks (N, H, W).

    Counts are taken on the device, the empty rule is bench/metrics' own through equal counts: both
    empty counts 1.
    """
    scores: list[float] = []
    done = 0
    for chunk in probs:
        target = torch.tensor(masks[done : done + len(chunk)], device=chunk.device)
        pred = resize_probs(chunk, *target.shape[1:])[:, 0] > THRESHOLD
        overlap = (pred & target).flatten(1).sum(1).double()
        size = (pred.flatten(1).sum(1) + target.flatten(1).sum(1)).double()
        scores += torch.where(size == 0, 1.0, 2 * overlap / size.clamp(min=1)).tolist()
        done += len(chunk)
    return float(np.mean(scores))


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
