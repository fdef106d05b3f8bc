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
    no_decay: tuple[str, ...] = ()  # parts of the names of parameters that do not decay
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine", "cosine-restarts", "poly", "linear"] = "cosine"
    # When the rate changes: at every epoch or every optimizer step, at what is done before it, or
    # ("smooth") at every step, at what is done after it.
    schedule_unit: Literal["epoch", "step", "smooth"] = "epoch"
    period: int | None = Field(None, gt=0)  # of cosine-restarts, in epochs
    mirrored: bool = False  # cosine-restarts that rise again instead of jumping (CosineAnnealingLR)
    power: float = 0.9  # of poly
    min_lr: float = Field(0.0, ge=0)
    warmup: float = Field(0.0, ge=0)  # in epochs, linear
    warmup_from: float = Field(0.0, ge=0, le=1)  # share of lr at which warm-up starts
    hold: float = Field(0.0, ge=0)  # epochs at lr between warm-up and schedule
    run_share: float = Field(1.0, gt=0, le=1)  # of the schedule, that the run's epochs go through
    epochs: int = Field(1000, gt=0)
    steps_per_epoch: int | None = Field(None, gt=0)  # None: one pass over the training cases
    batch_size: int = Field(8, gt=0)
    drop_last: bool = True  # False: the rest of a pass makes a smaller batch, of one image at least
    replacement: bool = False  # cases drawn one by one from all of them, instead of in passes
    loss: str = (
        "bce+dice"  # of networks that only map images to logits; see bench/training/losses.py
    )
    augmentation: str = "shared"  # see bench/training/augment.py
    # Masks at the network's size: nearest; bilinear with every pixel above 0 set ("dilated");
    # or bilinear values between 0 and 1 ("soft").
    masks: Literal["nearest", "dilated", "soft"] = "nearest"
    # What comes between images in [0, 1] and the network; see `bench.method.Normalise`. "own": what
    # the method declares, such as the mean and SD of its pretrained encoder.
    normalise: Literal["own", "none", "imagenet", "zscore", "stretch"] = "own"
    image_size: int | None = Field(None, gt=0)  # None: the profile's
    ema_decay: float | None = Field(None, gt=0, lt=1)
    ema_warmup: bool = False  # decay min(ema_decay, (1 + n) / (10 + n)) after n steps
    # The longest horizon 1 / (1 - decay), as a share of the run's steps; None: as ema_decay says.
    ema_horizon: float | None = Field(None, gt=0, le=1)
    grad_clip: float | None = Field(None, gt=0)  # max norm
    foreground_share: float = Field(0.0, ge=0, le=1)  # of each batch forced to hold foreground
    patience: int | None = Field(None, gt=0)  # epochs without a better validation DSC
    # "STUDY, trial N" where a search found the values; set by the option `--tuned` alone.
    tuned: str | None = None

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
        """This recipe over `epochs` passes of the data, with the shape of its schedule kept.

        An epoch is one pass, also where the full recipe counts a fixed number of steps. Warm-up and
        hold take at most a tenth of the run, in whole epochs where the rate changes by epoch; a
        rate that changes by step keeps their share of the run. Restarts keep their period while two
        of them fit; else one takes the whole run. The horizon of the averaged weights is at most a
        fifth of the run. Patience of the run's length or more is dropped.
        """
        ratio = epochs / self.epochs if self.schedule_unit == "step" else 1.0
        warmup, hold = self.warmup * ratio, self.hold * ratio
        rise = warmup + hold
        if rise > epochs / 10:
            warmup, hold = (part * (epochs / 10) / rise for part in (warmup, hold))
        if self.schedule_unit == "epoch":
            warmup, hold = float(int(warmup + 1e-9)), float(int(hold + 1e-9))
        period = self.period
        if period is not None and 2 * period > epochs:
            period = epochs
        waits = self.patience is not None and self.patience < epochs
        return self.model_copy(
            update={
                "epochs": epochs,
                "steps_per_epoch": None,
                "warmup": warmup,
                "hold": hold,
                "period": period,
                "ema_horizon": None if self.ema_decay is None else 0.2,
                "patience": self.patience if waits else None,
            }
        )


Topic = Literal[
    "optimizer", "schedule", "length", "batches", "augmentation", "masks", "averaging", "selection"
]


class Original(Frozen):
    """How a method's authors train it, and what differs here: what `bench describe` prints and
    docs/recipes.md is made of.

    code: repository@commit. topics: topic -> (what their code does, its file and lines).
    departures: each a sentence that says what the native recipe or its batches do otherwise, and why.
    """

    code: str
    topics: dict[Topic, tuple[str, str]]
    departures: tuple[str, ...]


SHARED = Recipe(name="shared", schedule_unit="smooth", warmup=5, epochs=1000)
"""One recipe for every method: AdamW 2e-3, cosine with 5 epochs of warm-up, batch 8 (GMS, AAAI
2025, Implementation Details), flips, quarter turns, small affine and HSV jitter."""
