"""Hand-written cells for the tests of tables and plots: records and score rows, no training."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.files import digest
from bench.experiments.cells import (
    HISTORY,
    CellKey,
    CellRecord,
    StoredTest,
    TokenizerKey,
    write_frame,
)
from bench.experiments.facts import DataFacts, SplitFacts
from bench.metrics.case import CaseScores

FAMILIES = {"unet": ("CNN", "UNet"), "gms": ("Generative", "GMS"), "ege_unet": ("CNN", "EGE-UNet")}
PARAMS = {"unet": 14_751_873, "gms": 1_564_976, "ege_unet": 53_374}
TOKENIZERS = {
    role: TokenizerKey(name=name, role=role, default_role="continuous", weights_hash=name[-1] * 64)
    for role, name in (("continuous", "tiny-kl"), ("discrete", "tiny-vq"))
}


def case_rows(scores: list[dict], grid: str = "network", size: int = 96) -> pd.DataFrame:
    """Rows of one test set: each of `scores` overrides a perfect case's columns."""
    perfect: CaseScores = {
        "tp": 10,
        "fp": 0,
        "fn": 0,
        "tn": size * size - 10,
        "dsc": 1.0,
        "iou": 1.0,
        "hd95": 0.0,
        "hd95_directed": 0.0,
        "diagonal": math.hypot(size, size),
        "empty": "none",
    }
    return pd.DataFrame(
        [
            {"case_id": f"case-{i}", "group": f"group-{i}", "grid": grid, "height": size}
            | {"width": size}
            | perfect
            | own
            for i, own in enumerate(scores)
        ]
    )


def facts(cases: int = 647, published: int | None = 647, **changes) -> DataFacts:
    """A dataset at hand under a published split of 517, 0 and 130 cases; complete by default."""
    split = {"scheme": "published", "seed": 0, "digest": "d" * 64, "train": 517, "val": 0, "test": 130}  # fmt: skip
    split |= changes.pop("split", {})
    return DataFacts(cases=cases, published_cases=published, split=SplitFacts(**split), **changes)


def cell(
    folder: Path,
    method: str = "unet",
    train: str = "busi",
    *,
    seed: int = 0,
    dsc: float | dict[str, float] = 0.8,
    changed: dict | None = None,
    settings: dict | None = None,
    preset: dict | None = None,
    role: str | None = None,
    status: str = "done",
    error: str | None = None,
    cases: int = 4,
    history: pd.DataFrame | None = None,
    provenance: dict | None = None,
    inputs: dict | None = None,
    recipe_fields: dict | None = None,
    data: dict[str, DataFacts] | None = None,
    **key,
) -> CellRecord:
    """A stored cell whose mean DSC is `dsc` (by test set, or on its own test subset).

    Every case scores the mean; IoU is 0.9 and HD95 20 times it, so that an eye can follow.
    """
    family, title = FAMILIES.get(method, ("CNN", method))
    resolved = {"loss": "lm+seg"} if method == "gms" else {}
    role = role or ("continuous" if method == "gms" else None)
    facts = {"protocol": "clean", "selection": "best-val", "recipe": "shared", "profile": "demo"}
    facts |= {"epochs": 20, "image_size": 96} | key
    variant = "-".join(f"{k}_{v}" for k, v in (changed or {}).items())
    coordinates = "-".join(str(value) for value in facts.values())
    name = f"{method}-{train}-{seed}-{role}-{variant}-{coordinates}-{len(list(folder.glob('*')))}"
    record = CellRecord(
        id=name,
        status=status,
        key=CellKey(
            method=method,
            settings=resolved | (settings or {}) | (changed or {}),
            changed=changed or {},
            preset=preset or {},
            tokenizer=TOKENIZERS[role] if role else None,
            train=train,
            seed=seed,
            **facts,
        ),
        request="r",
        inputs={"data": "d1", "split": "s1", "code": digest(method)} | (inputs or {}),
        recipe=recipe_fields or {},
        data=data or {},
        title=title,
        family=family,
        trainable_params=PARAMS.get(method, 5_000_000) if status == "done" else None,
        total_params=PARAMS.get(method, 5_000_000) + 1_000_000 if status == "done" else None,
        provenance={
            "commit": "0123456789abcdef",
            "dirty": True,
            "device": "CPU",
            "finished": "2026-01-01T00:00:00+00:00",
        }
        | (provenance or {}),
        error=error,
        folder=folder / name,
    )
    if status == "done":
        means = dsc if isinstance(dsc, dict) else {f"{train}-test": dsc}
        for label, mean in means.items():
            one = {"dsc": mean, "iou": 0.9 * mean, "hd95": 20 * mean, "hd95_directed": 21 * mean}
            record = put_scores(record, label, case_rows([one] * cases))
        if history is not None:
            checksum = write_frame(folder / name / HISTORY, history)
            record = record.model_copy(update={"files": {HISTORY: checksum}})
    record.write(folder / name)
    return record


def put_scores(record: CellRecord, label: str, rows: pd.DataFrame) -> CellRecord:
    """The record with `rows` as the stored scores of the test set `label`, such as "busi-test"."""
    assert record.folder is not None
    checksum = write_frame(record.scores_file(*label.rsplit("-", 1)), rows)
    stored = StoredTest(cases="c", predictions="p", scoring="s", scores=checksum)
    record = record.model_copy(update={"tests": record.tests | {label: stored}})
    record.write(record.folder)
    return record


def curve(epochs: int = 20, best: float = 0.8) -> pd.DataFrame:
    """A history whose loss falls and whose validation DSC, measured every 4 epochs, rises."""
    epoch = np.arange(1, epochs + 1)
    val = np.where(epoch % 4 == 0, best * (1 - np.exp(-epoch / 6)), np.nan)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "lr": 2e-3,
            "loss": 1.2 * np.exp(-epoch / 8) + 0.2,
            "val_dsc": val,
            "test_dsc": np.nan,
            "seconds": 1.0,
        }
    )
