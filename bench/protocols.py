"""Protocols (what may be compared) and profiles (how much work), both read from data files."""

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from bench.core.errors import BenchError, faults, unknown_name
from bench.core.frozen import FileName, Frozen
from bench.core.paths import PACKAGE
from bench.core.reading import parse_toml, read_text, read_toml, toml_line

Selection = Literal["last", "best-val", "best-test"]
SelectionMetric = Literal["dsc", "soft-dice"]
Resize = Literal["pillow", "opencv"]
TF32 = Literal["off", "convolution", "all"]  # "all": matrix products too


class Protocol(Frozen):
    """The rules that make two numbers comparable.

    split: a scheme of bench/data/splits.py. val_share: share of the training cases held out for
    validation, by group. selection: which epoch's weights are scored. selection_metric: the score
    that chooses it; see `bench.training.predict.validation_scores`. resize: how stored images and
    masks come to the network's size; see `bench.data.pixels`. recipe: "shared" for one
    recipe for all, "native" for each method's own, "tuned" for what a search by `bench tune` made of
    that. external_subset: which cases of a foreign test dataset are scored, its "test" part or "all".
    precision: overrules the profile's; None leaves it. preset: method settings that come with the
    protocol; those of the profile's preset overrule them. budget: training images that every cell
    sees, augmented copies counted each; None for the recipe's own length. optimism: the test cases
    are scored whenever validation is, for the gain that choosing on them would give; they choose
    nothing. It changes no number of a cell, so it is no part of a cell's identity.
    """

    name: FileName
    title: str
    split: Literal["default", "listed", "published", "imported", "random80", "grouped", "dedup"]
    split_seed: int = 0
    val_share: float = Field(ge=0, lt=1)
    selection: Selection
    selection_metric: SelectionMetric = "dsc"
    resize: Resize = "pillow"
    recipe: Literal["shared", "native", "tuned"]
    external_subset: Literal["test", "all"] = "test"
    precision: Literal["fp32", "bf16"] | None = None
    preset: Literal["as-released"] | None = None
    budget: int | None = Field(None, gt=0)
    optimism: bool = False

    @model_validator(mode="after")
    def _validates_where_it_selects(self) -> Self:
        if self.selection == "best-val" and self.val_share == 0:
            raise ValueError(
                f"protocol {self.name!r} selects the epoch on validation cases (best-val) and holds "
                "none out (val_share 0). Give val_share above 0, or another selection"
            )
        if self.selection == "last" and self.selection_metric != "dsc":
            raise ValueError(
                f"protocol {self.name!r} keeps the last epoch, and selection_metric "
                f"{self.selection_metric!r} chooses among epochs. Leave selection_metric out, or give "
                "selection best-val or best-test"
            )
        if self.recipe == "tuned" and self.selection != "best-val":
            raise ValueError(
                f"protocol {self.name!r} has tuned recipes, which are searched on validation cases, "
                f"and selection {self.selection!r}. Give selection best-val, or another recipe"
            )
        return self


class Profile(Frozen):
    """The size of the work: pictures, lengths, numerics and the tokenizers that play each role.

    tokenizer_weights: "bf16" rounds the weights of frozen tokenizers to bfloat16, once, for all that
    runs in precision bf16; stored latents are computed with the full ones. "fp32" leaves the rounding
    to autocast, at every call.
    """

    name: FileName
    title: str
    phantoms: bool
    image_size: int = Field(ge=32)
    native_sizes: bool
    epochs: int | None = Field(None, gt=0)  # None: the recipe's own length
    train_cases: int = Field(0, ge=0)  # of each phantom dataset
    test_cases: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16"]
    tokenizer_weights: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool
    compile: bool = False
    tf32: TF32 = "convolution"  # what a GPU computes in TF32 where float32 is asked for
    deterministic: bool = False  # operations without a deterministic form are refused
    validate_every: int = Field(gt=0)  # epochs
    tokenizers: dict[Literal["continuous", "discrete"], str]
    preset: Literal["light", "minimal"] | None = None  # which of a method's own presets applies
    recipe: dict[str, Any] = {}  # changes to every recipe

    @property
    def rounds_tokenizers(self) -> bool:
        """Whether tokenizers compute with weights rounded to bfloat16."""
        return self.precision == "bf16" and self.tokenizer_weights == "bf16"


Model = TypeVar("Model", Protocol, Profile)


def _read(model: type[Model], file: Path, name: str) -> Model:
    kind = model.__name__.lower()
    text = read_text(file, f"{kind} file")
    known = parse_toml(file, text)
    if name not in known:
        raise unknown_name(kind, name, known, f"These are the names in {file.name}.")
    if not isinstance(known[name], dict):
        raise BenchError(f"{file.name}: {name} is no table. Write [{name}] above its fields.")
    try:
        return model.model_validate({**known[name], "name": name})
    except ValidationError as error:
        wrong = faults(error, lambda place: toml_line(text, (name, *place)))
        raise BenchError(
            f"{file.name}, [{name}] is no {kind}: {wrong}. `bench list {kind}s` shows the "
            "shipped ones."
        ) from error


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`, or `FILE.toml:NAME` of a file of one's own."""
    return _read(Protocol, *_locate("protocols.toml", name))


def get_profile(name: str) -> Profile:
    """The profile called `name`, or `FILE.toml:NAME` of a file of one's own."""
    return _read(Profile, *_locate("profiles.toml", name))


def _locate(shipped: str, name: str) -> tuple[Path, str]:
    file, colon, inner = name.rpartition(":")
    if not colon:
        return PACKAGE / "defaults" / shipped, name
    if not Path(file).is_file():
        raise BenchError(f"No file {file!r}. Write NAME of a shipped one or FILE.toml:NAME.")
    return Path(file), inner


def protocol_names() -> list[str]:
    """The shipped protocols."""
    return list(read_toml(PACKAGE / "defaults" / "protocols.toml", "protocol file"))


def profile_names() -> list[str]:
    """The shipped profiles."""
    return list(read_toml(PACKAGE / "defaults" / "profiles.toml", "profile file"))
