"""How the cells behind a number were trained, in words that may differ from row to row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.experiments.cells import CellRecord, Tuned
from bench.reporting.tables.commits import commit_of

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Training:
    """What is shown of the cells of one entry, equal values of its seeds once.

    length: the recipe's own, "1000 epochs" or "100 epochs of 1000 steps", where the run has another;
    change: how it came from there to `epochs`, "" where it did not. images: training images seen,
    each augmented copy counted, "8000" or "7200 to 8000". size: side in px of the images that the
    network gets. normalise: what becomes of images in [0, 1] before the network.
    weights: "random" or "pretrained: NAME". precision: "bf16", "fp32", and where TF32 computes. device:
    "GPU" or "CPU". code: start of the digest of the code that decided the weights. search: what found
    the recipe, "" where none did; search_trials, search_images, search_score: its trials, the training
    images that they saw, and what the winner was chosen by.
    """

    recipe: str
    epochs: str
    length: str
    change: str
    images: str
    size: str
    normalise: str
    weights: str
    precision: str
    device: str
    code: str
    search: str = ""
    search_trials: str = ""
    search_images: str = ""
    search_score: str = ""

    def facts(self) -> dict[str, str]:
        """Column of the CSV -> value."""
        return {
            "recipe": self.recipe,
            "epochs": self.epochs,
            "own_length": self.length,
            "images_seen": self.images,
            "network_size": self.size,
            "normalise": self.normalise,
            "initial_weights": self.weights,
            "precision": self.precision,
            "device_class": self.device,
            "training_code": self.code,
            "search_trials": self.search_trials,
            "search_images": self.search_images,
            "search_score": self.search_score,
        }


def training_of(records: Sequence[CellRecord]) -> Training | None:
    """The training of the finished cells among the records; None without any."""
    done = [record for record in records if record.status == "done"]
    if not done:
        return None
    images = [record.provenance.get("images_seen") for record in done]
    searches = [found for record in done if (found := search_of(record))]
    known = sorted({int(count) for count in images if count is not None})
    span = " to ".join(map(str, dict.fromkeys((known[0], known[-1])))) if known else UNKNOWN
    return Training(
        recipe=_joined(record.key.recipe for record in done),
        epochs=_joined(str(record.key.epochs) for record in done),
        length=_joined(filter(None, map(_own_length, done))),
        change=_joined(filter(None, map(_change, done))),
        images=span,
        size=_joined(str(record.network_size or UNKNOWN) for record in done),
        normalise=_joined(record.provenance.get("normalise") or UNKNOWN for record in done),
        weights=_joined(record.provenance.get("initial_weights") or UNKNOWN for record in done),
        precision=_joined(map(_precision, done)),
        device=_joined(map(device_class, done)),
        code=_joined(record.inputs.get("code", UNKNOWN)[:8] for record in done),
        search=_joined(map(_search, searches)),
        search_trials=_joined(str(found.trials) for found in searches),
        search_images=_joined(str(found.images) for found in searches),
        search_score=_joined(found.score for found in searches),
    )


def search_of(record: CellRecord) -> Tuned | None:
    """The search that found a cell's recipe; None without one."""
    stated = record.provenance.get("request", {}).get("tuned")
    return None if stated is None else Tuned.model_validate(stated)


def _search(found: Tuned) -> str:
    return (
        f"{found.trials} trials, {found.images:,} training images at {found.image_size} px, winner by "
        f"{found.score}"
    )


def _own_length(record: CellRecord) -> str:
    """The recipe's own length where the run has another one of the same shape, else ""."""
    own = record.provenance.get("own_length")
    if not own:
        return ""
    steps = own["steps_per_epoch"]
    return f"{own['epochs']} epochs" + (f" of {steps} steps" if steps else "")


def _change(record: CellRecord) -> str:
    own = _own_length(record)
    if not own:
        return ""
    seen = record.provenance.get("images_seen", 0)
    word = "shortened" if seen < record.provenance["own_length"]["images"] else "lengthened"
    ran = str(record.key.epochs)
    if own.endswith(" epochs"):
        return f"{word} from {own.removesuffix(' epochs')} to {ran} epochs, shape kept"
    return f"{word} from {own} to {ran} passes, shape kept"


def device_class(record: CellRecord) -> str:
    """ "GPU" or "CPU": scores of one training may differ between the two."""
    stored = record.provenance.get("device_class")
    if stored is None and "device" in record.provenance:
        # Records that do not state it name the processor as the device where that computed.
        on_cpu = record.provenance["device"] in (record.provenance.get("processor"), "CPU")
        stored = "CPU" if on_cpu else "GPU"
    return str(stored or UNKNOWN)


def _precision(record: CellRecord) -> str:
    precision = record.provenance.get("precision") or UNKNOWN
    if record.provenance.get("tokenizer_weights") == "bf16":
        return f"{precision} (tokenizer's weights rounded to bf16)"
    where = record.provenance.get("tf32") or () if precision == "fp32" else ()
    return precision + (f" (TF32 in {' and '.join(where)})" if where else "")


def _joined(values: Iterable[str]) -> str:
    return " / ".join(sorted(set(values)))


def training_text(trainings: dict[str, Training]) -> str:
    """One line on a row; trainings: by the title of the training dataset."""
    images = ", ".join(f"{name} {_grouped(one.images)}" for name, one in trainings.items())
    epochs = ", ".join(f"{name} {one.epochs}" for name, one in trainings.items())
    changes = {name: one.change for name, one in trainings.items() if one.change}
    if len(set(changes.values())) > 1:  # lengths differ between datasets: say which is whose
        changes = {name: f"{name} {change}" for name, change in changes.items()}
    parts = [
        f"Recipe {_joined(one.recipe for one in trainings.values())}",
        *(f"found by a search: {one}" for one in _each(trainings, "search")),
        *dict.fromkeys(changes.values()),
        f"images seen: {images}",
        f"epochs: {epochs}",
        f"network input {_joined(one.size for one in trainings.values())} px",
        f"input normalisation {_joined(one.normalise for one in trainings.values())}",
        f"initial weights {_joined(one.weights for one in trainings.values())}",
        f"precision {_joined(one.precision for one in trainings.values())}",
        f"device class {_joined(one.device for one in trainings.values())}",
    ]
    return "; ".join(parts) + "."


def _each(trainings: dict[str, Training], field: str) -> list[str]:
    """The values of a field that are not empty, each with its dataset where they differ."""
    values = {name: getattr(one, field) for name, one in trainings.items() if getattr(one, field)}
    if len(set(values.values())) > 1:
        return [", ".join(f"{name} {value}" for name, value in values.items())]
    return list(dict.fromkeys(values.values()))


def _grouped(images: str) -> str:
    """ "7,200 to 8,000" of "7200 to 8000"."""
    return " ".join(f"{int(word):,}" if word.isdigit() else word for word in images.split())


def code_text(records: Sequence[CellRecord]) -> str:
    """On which code a row's cells were trained; for tables whose rows come from several commits."""
    codes = _joined(record.inputs.get("code", UNKNOWN)[:8] for record in records)
    commits = _joined(map(commit_of, records))
    return f"Training code {codes}, commit {commits}."
