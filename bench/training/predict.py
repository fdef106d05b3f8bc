"""From a trained method to probabilities, masks and per-case rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.core.seeds import seed_for
from bench.data.arrays import CaseArrays
from bench.method import to_images
from bench.metrics import score_case
from bench.metrics.overlap import dice
from bench.training.engine import Engine

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

    Pixels are counted on the device; the counts come to the CPU once per batch.
    """
    scores: list[float] = []
    for chunk in probs:
        target = torch.tensor(masks[len(scores) : len(scores) + len(chunk)], device=chunk.device)
        pred = resize_probs(chunk, *target.shape[1:])[:, 0] > THRESHOLD
        counts = torch.stack([mask.flatten(1).sum(1) for mask in (pred & target, pred, target)])
        scores += dice(*counts.cpu().numpy()).tolist()
    return float(np.mean(scores))


def score(
    probs: Iterator[Tensor], target: CaseArrays, cases: NDArray[np.int64], examples: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """(rows, preds): one row per case and grid, and the first `examples` masks at network size.

    The same probabilities are thresholded on the network grid and, after bilinear resizing, on the
    image's native grid.
    """
    rows: list[dict] = []
    preds: list[np.ndarray] = []
    position = 0
    for chunk in probs:
        network = target.masks.shape[1:]
        on_network = (resize_probs(chunk, *network)[:, 0] > THRESHOLD).cpu().numpy()
        for index in range(len(chunk)):
            case = cases[position]
            native_target = target.native_masks[case]
            native = resize_probs(chunk[index : index + 1], *native_target.shape)[0, 0]
            grids = {
                "network": (on_network[index], np.asarray(target.masks[case])),
                "native": ((native > THRESHOLD).cpu().numpy(), native_target),
            }
            for grid, (pred, mask) in grids.items():
                head = {
                    "case_id": target.case_ids[case],
                    "group": target.groups[case],
                    "grid": grid,
                }
                size = {"height": mask.shape[0], "width": mask.shape[1]}
                rows.append(head | size | score_case(pred, mask))
            if len(preds) < examples:
                preds.append(on_network[index])
            position += 1
    return pd.DataFrame(rows), np.array(preds)
