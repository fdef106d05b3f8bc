"""Measures what a tokenizer gives back, as the paper's supplementary material does.

A mask goes in as three equal channels, comes out, is averaged over the channels and cut at 0.5.
What a perfect mapping model would score with this tokenizer is the Dice of that; no method built on
the tokenizer can be expected to do better.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor

from bench.core.errors import BenchError
from bench.core.files import write_with
from bench.data import phantoms
from bench.data.arrays import load_arrays
from bench.data.pixels import PixelError, levels, load
from bench.method import to_images
from bench.metrics.case import score_case
from bench.tokenizers.base import FrozenTokenizer
from bench.tokenizers.embedded_training.objective import psnr

MASK_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".gif")
PHANTOM_SEED = 20_000  # unlike the training pictures' and the demo's


@dataclass(frozen=True)
class EvalSet:
    """Cases to reconstruct. images: uint8 (N, S, S, 3) or None; masks: bool (N, S, S)."""

    name: str
    case_ids: tuple[str, ...]
    masks: NDArray[np.bool_]
    images: NDArray[np.uint8] | None = None


@dataclass
class Evaluation:
    """rows: one per case: dataset, case_id, dice, hd95 (px), empty, psnr (dB), ssim.

    latents: dataset -> kind ("image", "mask") -> mean, SD per channel (and code perplexity).
    seconds: of encoding and decoding; pictures: how many went each way in that time.
    """

    tokenizer: str
    size: int
    device: str
    rows: pd.DataFrame
    latents: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    pictures: int = 0

    def throughput(self) -> dict[str, float]:
        """Pictures per second, encoding and decoding."""
        return {way: self.pictures / spent for way, spent in self.seconds.items() if spent > 0}

    def table(self) -> pd.DataFrame:
        """One row per dataset: cases, Dice mean and worst with its case, HD95, PSNR, SSIM."""
        groups = self.rows.groupby("dataset", sort=False)
        return pd.DataFrame([_summary(str(name), rows) for name, rows in groups])

    def as_json(self) -> dict[str, Any]:
        """Everything but the single cases, JSON-able (null where nothing was measured)."""
        table = self.table().astype(object)
        return {
            "tokenizer": self.tokenizer,
            "image_size": self.size,
            "device": self.device,
            "datasets": table.where(table.notna(), None).to_dict("records"),
            "latents": self.latents,
            "pictures_per_second": self.throughput(),
        }


def _summary(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    worst = rows.loc[rows["dice"].idxmin()]
    return {
        "dataset": name,
        "cases": len(rows),
        "empty": int((rows["empty"] != "none").sum()),
        "dice": float(rows["dice"].mean()),
        "worst_dice": float(worst["dice"]),
        "worst_case": str(worst["case_id"]),
        "hd95": float(rows["hd95"].mean()),
        "psnr": float(rows["psnr"].mean()),
        "ssim": float(rows["ssim"].mean()),
    }


def phantom_sets(size: int, count: int = 32) -> list[EvalSet]:
    """`count` phantoms of every style, at `size` pixels."""
    sets = []
    for style in phantoms.STYLES:
        drawn = [phantoms.render(style, i, size, PHANTOM_SEED) for i in range(count)]
        images, masks = (np.stack(part) for part in zip(*drawn, strict=True))
        ids = tuple(f"{style}-{i}" for i in range(count))
        sets.append(EvalSet(f"{style} phantoms", ids, masks, images))
    return sets


def prepared_sets(data: Path, size: int, names: Sequence[str] = ()) -> list[EvalSet]:
    """The prepared datasets in `data` (all, or those named); BenchError when there is none."""
    found = sorted(path.parent for path in data.glob("*/index.json"))
    wanted = [folder for folder in found if not names or folder.name in names]
    if not wanted:
        raise BenchError(
            f"{data} holds no prepared dataset{f' called {list(names)}' if names else ''}. "
            "Prepare one with `bench data prepare NAME --from FOLDER`, or evaluate a bare folder of "
            "masks with --masks DIR."
        )
    sets = []
    for folder in wanted:
        arrays = load_arrays(folder, size)
        sets.append(EvalSet(folder.name, arrays.case_ids, arrays.masks, arrays.images))
    return sets


def mask_set(folder: Path, size: int, threshold: int = 127) -> EvalSet:
    """Every picture in `folder` as a mask (levels above `threshold`), nearest to `size` pixels."""
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in MASK_SUFFIXES)
    if not files:
        raise BenchError(
            f"{folder} holds no masks ({', '.join(MASK_SUFFIXES)}). Name another folder."
        )
    masks = []
    for file in files:
        try:
            mask = Image.fromarray(levels(load(file)) > threshold)
        except PixelError as error:
            raise BenchError(f"{file} {error}. Fetch it anew or move it away.") from error
        masks.append(np.asarray(mask.resize((size, size), Image.Resampling.NEAREST)))
    return EvalSet(folder.name, tuple(file.stem for file in files), np.stack(masks))


def evaluate(
    tokenizer: FrozenTokenizer,
    sets: Sequence[EvalSet],
    device: str | torch.device = "cpu",
    batch_size: int = 8,
    progress: Callable[[str, int, int], None] = lambda name, done, of: None,
) -> Evaluation:
    """Reconstruct every mask and image of `sets`. progress: called with (set, done, cases)."""
    tokenizer = tokenizer.to(device)
    result = Evaluation(tokenizer.name, sets[0].masks.shape[1], str(device), pd.DataFrame())
    found: list[dict[str, Any]] = []
    for cases in sets:
        gathered = {"mask": _Latents(tokenizer), "image": _Latents(tokenizer)}
        for at in range(0, len(cases.masks), batch_size):
            part = slice(at, at + batch_size)
            scores = _mask_scores(tokenizer, cases.masks[part], result, gathered["mask"])
            if cases.images is not None:
                kept = _image_scores(tokenizer, cases.images[part], result, gathered["image"])
                scores = [a | b for a, b in zip(scores, kept, strict=True)]
            for case, score in zip(cases.case_ids[part], scores, strict=True):
                found.append({"dataset": cases.name, "case_id": case} | score)
            progress(cases.name, min(at + batch_size, len(cases.masks)), len(cases.masks))
        stats = {kind: part.summary() for kind, part in gathered.items() if part.count}
        result.latents[cases.name] = stats
    result.rows = pd.DataFrame(found)
    return result


def _mask_scores(
    tokenizer: FrozenTokenizer, masks: NDArray[np.bool_], result: Evaluation, latents: "_Latents"
) -> list[dict[str, Any]]:
    decoded = _there_and_back(tokenizer, mask_images(masks), result, latents)
    preds = binary(decoded)
    rows = []
    for pred, mask in zip(preds, masks, strict=True):
        score = score_case(pred, mask)
        kept = {"dice": score["dsc"], "hd95": score["hd95"], "empty": score["empty"]}
        rows.append(kept | {"psnr": np.nan, "ssim": np.nan})
    return rows


def _image_scores(
    tokenizer: FrozenTokenizer, images: NDArray[np.uint8], result: Evaluation, latents: "_Latents"
) -> list[dict[str, Any]]:
    inputs = to_images(torch.tensor(images))
    decoded = _there_and_back(tokenizer, inputs, result, latents).clamp(0, 1)
    noise = psnr(decoded, inputs)
    pairs = zip(
        inputs.permute(0, 2, 3, 1).numpy(), decoded.permute(0, 2, 3, 1).numpy(), strict=True
    )
    likeness = [structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in pairs]
    return [
        {"psnr": float(decibel), "ssim": float(alike)}
        for decibel, alike in zip(noise, likeness, strict=True)
    ]


def mask_images(masks: NDArray[np.bool_]) -> Tensor:
    """Masks (N, H, W) as images float32 (N, 3, H, W), three equal channels of 0 and 1."""
    return torch.tensor(masks)[:, None].float().expand(-1, 3, -1, -1)


@torch.no_grad()
def mask_probs(
    tokenizer: FrozenTokenizer, masks: NDArray[np.bool_], device: str, batch_size: int = 8
) -> Iterator[Tensor]:
    """Masks (N, H, W) after encoding and decoding, batch by batch in order.

    Probabilities float32 in [0, 1], (n, 1, H, W): the mean decoded channel.
    """
    tokenizer = tokenizer.to(device)
    for start in range(0, len(masks), batch_size):
        images = mask_images(masks[start : start + batch_size]).to(device)
        decoded = tokenizer.decode(tokenizer.encode(images))
        yield decoded.float().mean(dim=1, keepdim=True).clamp(0, 1)


def binary(decoded: Tensor) -> NDArray[np.bool_]:
    """bool (N, H, W) of decoded masks (N, 3, H, W): the mean of the channels above 0.5."""
    return (decoded.mean(dim=1) > 0.5).cpu().numpy()


@torch.no_grad()
def _there_and_back(
    tokenizer: FrozenTokenizer, images: Tensor, result: Evaluation, latents: "_Latents"
) -> Tensor:
    """Decoded images on the CPU; adds to the seconds and the latents' statistics."""
    images = images.to(result.device)
    started = _now(images)
    encoded = tokenizer.encode(images)
    between = _now(images)
    decoded = tokenizer.decode(encoded)
    ended = _now(images)
    latents.add(encoded, images)
    for way, spent in (("encode", between - started), ("decode", ended - between)):
        result.seconds[way] = result.seconds.get(way, 0.0) + spent
    result.pictures += len(images)
    return decoded.float().cpu()


def _now(x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()


class _Latents:
    """Running mean and SD per channel, and which codes occurred."""

    def __init__(self, tokenizer: FrozenTokenizer) -> None:
        self.tokenizer, self.count = tokenizer, 0
        self.sums = torch.zeros(2, tokenizer.latent_channels, dtype=torch.float64)
        self.codes = torch.zeros(tokenizer.num_tokens or 0, dtype=torch.int64)

    def add(self, latents: Tensor, images: Tensor) -> None:
        values = latents.detach().double().cpu()
        self.sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        self.count += values[:, 0].numel()
        if self.tokenizer.num_tokens:
            tokens = self.tokenizer.encode_tokens(images).flatten().cpu()
            self.codes += torch.bincount(tokens, minlength=len(self.codes))

    def summary(self) -> dict[str, Any]:
        mean, square = self.sums / self.count
        spread = (square - mean**2).clamp_min(0).sqrt()
        found: dict[str, Any] = {"mean": mean.tolist(), "sd": spread.tolist()}
        if self.tokenizer.num_tokens:
            share = self.codes[self.codes > 0].double() / self.codes.sum()
            found["perplexity"] = float(torch.exp(-(share * share.log()).sum()))
            found["codes_used"] = int((self.codes > 0).sum())
        return found


def worst_cases(evaluation: Evaluation, per_set: int) -> Iterator[tuple[str, str, float]]:
    """(dataset, case_id, dice) of the `per_set` worst masks of each dataset, worst first."""
    for name, rows in evaluation.rows.groupby("dataset", sort=False):
        for _, row in rows.nsmallest(per_set, "dice").iterrows():
            yield str(name), str(row["case_id"]), float(row["dice"])


def figure(
    tokenizer: FrozenTokenizer,
    sets: Sequence[EvalSet],
    evaluation: Evaluation,
    path: Path,
    per_set: int = 2,
) -> None:
    """Write image, reconstruction, mask, reconstruction and error of the worst cases to `path`."""
    from matplotlib.figure import Figure

    cases = {cases.name: cases for cases in sets}
    worst = list(worst_cases(evaluation, per_set))
    columns = ["mask", "decoded mask", "wrong pixels"]
    if any(shown.images is not None for shown in sets):
        columns = ["image", "decoded image", *columns]
    wide, high = 2.0 * len(columns), 2.3 * len(worst)
    sheet = Figure(figsize=(wide, high), layout="constrained")
    axes = sheet.subplots(len(worst), len(columns), squeeze=False)
    for row, (name, case, dice) in zip(axes, worst, strict=True):
        shown = cases[name]
        pictures = _pictures(tokenizer, shown, shown.case_ids.index(case))
        for axis, title in zip(row, columns, strict=True):
            axis.set_axis_off()
            if title in pictures:
                axis.imshow(pictures[title], cmap="gray", vmin=0, vmax=1)
                axis.set_title(title, fontsize=8)
        row[columns.index("mask")].set_title(f"{name}: {case}\nDice {dice:.4f}", fontsize=8)
    write_with(path, lambda file: sheet.savefig(file, dpi=120, format="png"))


@torch.no_grad()
def _pictures(tokenizer: FrozenTokenizer, cases: EvalSet, at: int) -> dict[str, Any]:
    device = next((p.device for p in tokenizer.parameters()), torch.device("cpu"))
    mask = cases.masks[at : at + 1]
    decoded = tokenizer.decode(tokenizer.encode(mask_images(mask).to(device)))
    found: dict[str, Any] = {}
    if cases.images is not None:
        image = to_images(torch.tensor(cases.images[at : at + 1]))
        back = tokenizer.decode(tokenizer.encode(image.to(device))).clamp(0, 1)[0]
        found = {"image": image[0].permute(1, 2, 0), "decoded image": back.permute(1, 2, 0).cpu()}
    wrong = (binary(decoded)[0] != mask[0]).astype(float)
    soft = decoded.mean(dim=1)[0].clamp(0, 1).cpu()
    return found | {"mask": mask[0], "decoded mask": soft, "wrong pixels": wrong}
