"""What a cell's tokenizer gives back of the masks that the cell is scored on.

A method that decodes its masks from a tokenizer's latents cannot be expected to score better than
the test masks themselves do after encoding and decoding. That score is measured once per
tokenizer weights, test cases and image size, and stored beside the cells. torch is imported only
where it is measured.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from bench.core.errors import BenchError, faults
from bench.core.files import digest, write_json
from bench.core.frozen import Frozen
from bench.experiments.cells import CellRecord, CellRequest, TestSet
from bench.experiments.identity import chosen_tokenizer
from bench.experiments.sources import Sources

FOLDER = "ceilings"


class MaskScore(Frozen):
    """The Dice of one test mask against itself after encoding and decoding, in [0, 1]."""

    case: str
    group: str
    dsc: float


class Ceiling(Frozen):
    """One tokenizer on one test set.

    test: its label, "busi-test". digest: of the test cases with their pixels, as in a cell's record.
    image_size: side in px of the grid that is scored. network_size: of what is encoded.
    """

    format: Literal[1] = 1
    tokenizer: str
    weights_hash: str
    test: str
    digest: str
    image_size: int
    network_size: int
    cases: tuple[MaskScore, ...]

    @property
    def mean(self) -> float:
        """Mean Dice over the cases, in [0, 1]."""
        return sum(case.dsc for case in self.cases) / len(self.cases)


class CeilingKey(NamedTuple):
    """What decides a ceiling: the tokenizer's weights, the test cases and both sizes."""

    weights_hash: str
    digest: str
    image_size: int
    network_size: int


def ceiling_key(record: CellRecord, label: str) -> CeilingKey | None:
    """The key of a cell's ceiling on one of its test sets; None without a tokenizer or the test."""
    if record.key.tokenizer is None or record.network_size is None or label not in record.tests:
        return None
    sizes = (record.key.image_size, record.network_size)
    return CeilingKey(record.key.tokenizer.weights_hash, record.tests[label].cases, *sizes)


def ceilings_folder(record: CellRecord) -> Path:
    """Where the ceilings of a cell's results folder lie."""
    assert record.folder is not None
    return record.folder.parent.parent / FOLDER


def _file(folder: Path, key: CeilingKey) -> Path:
    return folder / f"{digest(list(key))[:16]}.json"


def load_ceiling(record: CellRecord, label: str) -> Ceiling | None:
    """The stored ceiling of a cell on one of its test sets, None where there is none."""
    key = ceiling_key(record, label)
    file = None if key is None else _file(ceilings_folder(record), key)
    return _read(file) if file is not None and file.is_file() else None


def load_ceilings(results: Path) -> list[Ceiling]:
    """Every stored ceiling below a results folder."""
    return [_read(file) for file in sorted((results / FOLDER).glob("*.json"))]


def _read(file: Path) -> Ceiling:
    try:
        return Ceiling.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        why = faults(error) if isinstance(error, ValidationError) else error
        raise BenchError(
            f"{file} is no stored ceiling: {why}. Delete it and run bench tokenizer ceiling."
        ) from error


def measure_ceilings(
    records: Sequence[CellRecord],
    data: Path | None,
    cards: Sequence[Path] = (),
    device: str = "cpu",
    progress: Callable[[str], None] = lambda line: None,
) -> list[Ceiling]:
    """Measure and store every ceiling that the finished cells lack; returns the new ones.

    data: folder of prepared datasets. progress: called with a line before each one. Raises BenchError
    where data or weights are missing, or are not those that the cells were scored with.
    """
    done: dict[CeilingKey, Ceiling] = {}
    for record in records:
        for label in record.tests if record.status == "done" else ():
            key = ceiling_key(record, label)
            if key is None or key in done or load_ceiling(record, label) is not None:
                continue
            assert record.key.tokenizer is not None
            progress(f"{record.key.tokenizer.name} on {label}, {record.network_size} px")
            done[key] = _measure(record, label, key, data, cards, device)
            write_json(_file(ceilings_folder(record), key), done[key].model_dump(mode="json"))
    return list(done.values())


def _measure(
    record: CellRecord,
    label: str,
    key: CeilingKey,
    data: Path | None,
    cards: Sequence[Path],
    device: str,
) -> Ceiling:
    request = CellRequest.model_validate(record.provenance["request"])
    dataset, _, subset = label.rpartition("-")
    test = TestSet.model_validate({"dataset": dataset, "subset": subset})
    sources = Sources(request.profile, data, list(cards))
    if sources.test_digest(test, request.protocol) != key.digest:
        raise BenchError(
            f"The test cases of {label} are not those that cell {record.id} was scored on. Prepare "
            "the same data, or score the cell again: run its matrix."
        )
    tokenizer = _tokenizer(record, request)
    ids = sources.test_cases(test, request.protocol)
    encoded = sources.arrays(dataset, key.network_size)
    target = sources.arrays(dataset, key.image_size)
    scores = _scores(
        tokenizer, encoded.masks[encoded.rows(ids)], target.masks[target.rows(ids)], device
    )
    groups = [target.groups[row] for row in target.rows(ids)]
    cases = [
        MaskScore(case=case, group=group, dsc=dsc)
        for case, group, dsc in zip(ids, groups, scores, strict=True)
    ]
    assert record.key.tokenizer is not None
    return Ceiling(
        tokenizer=record.key.tokenizer.name, test=label, cases=tuple(cases), **key._asdict()
    )


def _tokenizer(record: CellRecord, request: CellRequest) -> Any:
    """The cell's tokenizer; BenchError where its weights are no longer those of the cell."""
    key = record.key.tokenizer
    assert key is not None
    spec, location = chosen_tokenizer(key.default_role, request.tokenizer, request.profile)
    if spec.weights_hash(location) != key.weights_hash:
        raise BenchError(
            f"The weights of {key.name} are not those that cell {record.id} used "
            f"({key.weights_hash[:12]}). Give them at the same place again."
        )
    return spec.load(location)


def _scores(tokenizer: Any, masks: Any, target: Any, device: str) -> list[float]:
    """Dice in [0, 1] per case. masks: bool (N, s, s), encoded; target: bool (N, S, S)."""
    from bench.metrics.overlap import dice
    from bench.tokenizers.evaluation import mask_probs
    from bench.training.predict import THRESHOLD, resize_probs

    found: list[float] = []
    for probs in mask_probs(tokenizer, masks, device):
        aimed = target[len(found) : len(found) + len(probs)]
        preds = (resize_probs(probs, *aimed.shape[1:])[:, 0] > THRESHOLD).cpu().numpy()
        counts = [mask.sum((1, 2)) for mask in (preds & aimed, preds, aimed)]
        found += dice(*counts).tolist()
    return found
