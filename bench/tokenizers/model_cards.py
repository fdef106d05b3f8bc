"""Model cards of trained tokenizers: facts, training and measurements.

`card.json` holds the facts; `README.md` is rendered from it alone.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.files import write_json, write_text
from bench.tokenizers.evaluation import Evaluation, evaluate, phantom_sets
from bench.tokenizers.spec import WEIGHTS, TokenizerSpec

DATA = (
    "Procedural pictures only (bench/tokenizers/embedded_training/corpus.py): phantoms of five modalities, dead "
    "leaves, textures, speckle, gradients, shapes, text; procedural masks: phantom masks, blobs, "
    "many components, thin tools, holes, letters, border-touching, empty and full ones. It was "
    "never trained on real images: those in the tables below are for evaluation."
)
LIMITS = (
    "A small network for demonstrations, tests and ablations without a download. It is no stand-in "
    "for Stable Diffusion's autoencoder on natural images, and scores with it do not compare with "
    "published ones."
)


def measure_load_seconds(spec: TokenizerSpec, location: str | None = None) -> float:
    """Seconds to load the tokenizer once its libraries are imported: the best of three."""
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        spec.load(location)
        spent.append(time.perf_counter() - started)
    return round(min(spent), 3)


def write_training_card(
    folder: Path, spec: TokenizerSpec, sizes: Sequence[int] = (224, 96), count: int = 8
) -> None:
    """Evaluate the weights in `folder` on `count` phantoms per style at every size (px), none of
    them trained on, and write their card."""
    training = json.loads((folder / "training.json").read_text())
    tokenizer = spec.load(str(folder))
    write_card(
        folder, spec, training, [evaluate(tokenizer, phantom_sets(size, count)) for size in sizes]
    )


def write_card(
    folder: Path,
    spec: TokenizerSpec,
    training: dict[str, Any],
    evaluations: Sequence[Evaluation],
    notes: Sequence[str] = (),
) -> None:
    """Write `card.json` and `README.md` beside the weights in `folder`."""
    tokenizer = spec.load(str(folder), weights=True)
    card = {
        "name": spec.name,
        "summary": spec.summary,
        "role": spec.role,
        "licence": spec.licence,
        "latent_channels": spec.latent_channels,
        "factor": spec.factor,
        "codes": tokenizer.num_tokens,
        "parameters": sum(p.numel() for p in tokenizer.parameters()),
        "weights_bytes": (folder / WEIGHTS).stat().st_size,
        "weights_sha256": spec.weights_hash(str(folder)),
        "load_seconds": measure_load_seconds(spec, str(folder)),
        "data": DATA,
        "limits": LIMITS,
        "notes": list(notes),
        "training": training,
        "evaluations": [evaluation.as_json() for evaluation in evaluations],
    }
    write_json(folder / "card.json", card)
    write_text(folder / "README.md", render(card))


def render(card: dict[str, Any]) -> str:
    """The Markdown of a card."""
    training = card["training"]
    recipe, where = training["recipe"], training["provenance"]
    codes = f", {card['codes']:,} codes" if card["codes"] else ""
    lines = [
        f"# {card['name']}",
        "",
        (
            f"{card['summary']}. Written by `bench tokenizer train {card['name']}`; licence "
            f"{card['licence']}."
        ),
        "",
        (
            f"- Format: diffusers `{recipe['network']}`, {card['factor']}x down, "
            f"{card['latent_channels']} latent channels{codes}, {card['parameters']:,} parameters, "
            f"fp16 safetensors of {card['weights_bytes'] / 1e6:.2f} MB; loads in "
            f"{card['load_seconds']:.2f} s."
        ),
        f"- Weights hash: `{card['weights_sha256']}`.",
        f"- Data: {card['data']}",
        (
            f"- Recipe: {recipe['steps']:,} steps of AdamW at {recipe['lr']}, seed {training['seed']}, "
            f"corpus {training['corpus_version']}, phantoms {training['phantoms_version']}; every "
            "field is in `card.json`, the curve in `curve.csv`."
        ),
        (
            f"- Training: {training['train_seconds'] / 60:.0f} minutes of wall time on "
            f"{training['threads']} thread(s); commit `{where.get('commit')}`."
        ),
        f"- Limits: {card['limits']}",
        *(f"- {note}" for note in card["notes"]),
    ]
    for evaluation in card["evaluations"]:
        lines += ["", *_render_evaluation(evaluation)]
    return "\n".join(lines) + "\n"


def _render_evaluation(evaluation: dict[str, Any]) -> list[str]:
    speed = evaluation["pictures_per_second"]
    rates = ", ".join(f"{way} {rate:.1f}" for way, rate in speed.items())
    lines = [
        f"## Measured at {evaluation['image_size']} px",
        "",
        (
            f"Dice and HD95 (px) of masks after encoding and decoding, PSNR (dB) and SSIM of images; "
            f"{evaluation['device']}, pictures per second: {rates}."
        ),
        "",
        "| data | cases | Dice | worst | HD95 | PSNR | SSIM |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in evaluation["datasets"]:
        numbers = [f"{row[key]:.{digits}f}" if row[key] is not None else "-" for key, digits in (
            ("dice", 4), ("worst_dice", 4), ("hd95", 2), ("psnr", 1), ("ssim", 3),
        )]  # fmt: skip
        lines.append(f"| {row['dataset']} | {row['cases']} | {' | '.join(numbers)} |")
    perplexities = [
        f"{name} {stats['mask']['perplexity']:.0f} (masks)"
        + (f", {stats['image']['perplexity']:.0f} (images)" if "image" in stats else "")
        for name, stats in evaluation["latents"].items()
        if "perplexity" in stats["mask"]
    ]
    if perplexities:
        lines += ["", f"Codebook perplexity: {'; '.join(perplexities)}."]
    return lines
