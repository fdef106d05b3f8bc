"""How a method is trained, as data: the shared recipe, and the type of every native one."""

from typing import Any, Literal

from pydantic import Field, model_validator

from bench.core.frozen import Frozen


class Recipe(Frozen):
    """One training recipe; the trainer reads nothing else.

    Rates are per step of the optimizer at the given batch size. `epochs` is the length of a full
    (paper) run; a profile may shorten it, and the cell records the length that ran.
    """

    name: str
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0)
    head_lr: float = Field(1.0, gt=0)  # times lr, for what a network names in `head_parameters`
    weight_decay: float = Field(0.01, ge=0)
    decay_norms: bool = True  # whether normalisation layers decay, too
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine", "cosine-restarts", "poly", "linear"] = "cosine"
    # What the schedule counts: whole epochs, optimizer steps, or epochs that advance with each step.
    schedule_unit: Literal["epoch", "step", "smooth"] = "epoch"
    period: int | None = Field(None, gt=0)  # of cosine-restarts, in schedule units
    mirrored: bool = False  # cosine-restarts that rise again instead of jumping (CosineAnnealingLR)
    power: float = 0.9  # of poly
    min_lr: float = Field(0.0, ge=0)
    warmup: float = Field(0.0, ge=0)  # in schedule units, linear
    warmup_from: float = Field(0.0, ge=0, le=1)  # share of lr at which warm-up starts
    epochs: int = Field(1000, gt=0)
    steps_per_epoch: int | None = Field(None, gt=0)  # None: one pass over the training cases
    batch_size: int = Field(8, gt=0)
    drop_last: bool = True
    loss: str = (
        "bce+dice"  # of networks that only map images to logits; see bench/training/losses.py
    )
    augmentation: str = "shared"  # see bench/training/augment.py
    image_size: int | None = Field(None, gt=0)  # None: the profile's
    ema_decay: float | None = Field(None, gt=0, lt=1)
    grad_clip: float | None = Field(None, gt=0)  # max norm
    foreground_share: float = Field(0.0, ge=0, le=1)  # of each batch forced to hold foreground
    patience: int | None = Field(None, gt=0)  # epochs without a better validation DSC

    on_dataset: dict[str, dict[str, Any]] = {}  # dataset -> the fields that differ there

    @model_validator(mode="after")
    def _fields_on_datasets(self) -> "Recipe":
        wrong = {name for changes in self.on_dataset.values() for name in changes}
        wrong -= set(type(self).model_fields)
        if wrong:
            raise ValueError(f"on_dataset changes {sorted(wrong)}, which no recipe has")
        return self

    def on(self, dataset: str) -> "Recipe":
        """This recipe as its authors train on `dataset`."""
        changes = self.on_dataset.get(dataset, {})
        return self.model_copy(update=changes | {"on_dataset": {}})

    def shortened(self, epochs: int) -> "Recipe":
        """This recipe over `epochs` passes of the data, its schedule scaled along.

        Warm-up takes at most a tenth of the run; an epoch is one pass again, also where the full
        recipe counts a fixed number of steps.
        """
        ratio = epochs / self.epochs
        warmup = self.warmup * ratio if self.schedule_unit == "step" else self.warmup
        return self.model_copy(
            update={
                "epochs": epochs,
                "steps_per_epoch": None,
                "warmup": min(warmup, epochs / 10) if self.schedule_unit != "step" else warmup,
                "period": None if self.period is None else max(1, round(self.period * ratio)),
                "patience": None
                if self.patience is None or self.patience >= epochs
                else self.patience,
            }
        )


SHARED = Recipe(name="shared", schedule_unit="smooth", warmup=5, epochs=1000)
"""One recipe for every method: AdamW 2e-3, cosine with 5 epochs of warm-up, batch 8 (GMS, AAAI
2025, Implementation Details), flips, quarter turns, small affine and HSV jitter."""
