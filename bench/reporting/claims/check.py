"""Every claim of an edition against its own numbers and against stored cells."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.experiments.ceilings import Ceiling
from bench.experiments.cells import CellRecord
from bench.recipes import SHARED
from bench.reporting.claims.commands import commands_for
from bench.reporting.claims.model import Claim, Reconstruction
from bench.reporting.claims.outcomes import Outcome
from bench.reporting.claims.printed import PrintedEvidence
from bench.reporting.claims.stored import StoredEvidence
from bench.reporting.claims.verdicts import outcome
from bench.reporting.published import Edition
from bench.reporting.tables import ComparisonKey, comparable_groups
from bench.reporting.tables.footer import on_phantoms

MEASURE = "bench tokenizer ceiling"


def is_shared(record: CellRecord) -> bool:
    """Whether a cell was trained by the recipe that all methods share, changed or not."""
    return record.key.recipe.split(",")[0] == SHARED.name


class ClaimResult(NamedTuple):
    """One claim. printed: on the edition's numbers, None where they say nothing of it. ours: on the
    section's cells. commands: what would give the scores that `ours` lacks."""

    claim: Claim
    printed: Outcome | None
    ours: Outcome
    commands: tuple[str, ...]


class Section(NamedTuple):
    """The claims on the cells of one comparison key; key None: no cell is stored for any.

    phantoms: number of stored cells that are left out, since they are not of the datasets. unlike: in
    what the cells differ from the edition, whatever the claim.
    """

    key: ComparisonKey | None
    cells: int
    phantoms: int
    unlike: tuple[str, ...]
    results: tuple[ClaimResult, ...]


def check_claims(
    claims: Sequence[Claim],
    edition: Edition,
    cells: Sequence[CellRecord],
    ceilings: Sequence[Ceiling] = (),
    subset: str = "test",
) -> list[Section]:
    """A section per comparison key of the cells, one without a key where there is none.

    ceilings: what tokenizers give back, measured on the same test cases. subset: which cases of a
    foreign test set. Raises BenchError where cells of one key cannot be averaged.
    """
    groups = comparable_groups(cells)
    real = {key: own for key, own in groups.items() if not on_phantoms(key, own)}
    phantoms = len(cells) - sum(map(len, real.values()))
    printed = {claim.id: _on_print(claim, edition) for claim in claims}
    sections = []
    for key, own in real.items() or ((None, []),):
        evidence = StoredEvidence(own, subset, ceilings)
        results = [
            _result(claim, printed[claim.id], outcome(claim.test, evidence, edition), key)
            for claim in claims
        ]
        unlike = _unlike(edition, key, evidence.test_cases()) if key else ()
        sections.append(Section(key, len(own), phantoms, unlike, tuple(results)))
    return sections


def _unlike(edition: Edition, key: ComparisonKey, cases: dict[str, int]) -> tuple[str, ...]:
    """Image size and numbers of test cases that are not the edition's."""
    found = []
    if edition.image_size not in (None, key.image_size):
        found.append(f"scores at {key.image_size} px, the edition's are at {edition.image_size} px")
    for dataset, count in cases.items():
        printed = edition.test_cases.get(dataset)
        if printed not in (None, count):
            found.append(f"{count} test cases of {dataset}, the edition has {printed}")
    return tuple(found)


def _on_print(claim: Claim, edition: Edition) -> Outcome | None:
    found = outcome(claim.test, PrintedEvidence(edition), edition)
    return None if found.verdict == "not run" else found


def _result(
    claim: Claim, printed: Outcome | None, ours: Outcome, key: ComparisonKey | None
) -> ClaimResult:
    commands = commands_for(ours.needs, key)
    if isinstance(claim.test, Reconstruction) and ours.verdict == "not run":
        commands = (MEASURE,)
    return ClaimResult(claim, printed, ours, commands)
