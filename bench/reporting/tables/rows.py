"""A row of a table before it is filled, and a training that was asked for and has no record."""

from dataclasses import dataclass, field
from typing import Any

from bench.core.frozen import Frozen
from bench.experiments.cells import CellRecord, CellRequest
from bench.reporting.repetitions import Facet, facets
from bench.reporting.variants import Variant, variant_of


class Missing(Frozen):
    """A training that was asked for and has no record, and why ("not run", "no data ...")."""

    method: str
    train: str
    settings: dict[str, Any] = {}
    tokenizer: str | None = None
    reason: str = "not run"

    @classmethod
    def of(cls, request: CellRequest, reason: str = "not run") -> "Missing":
        """The absence of a requested cell."""
        return cls(
            method=request.method,
            train=request.train,
            settings=request.settings,
            tokenizer=request.tokenizer,
            reason=reason,
        )


@dataclass(frozen=True)
class Row:
    """One row to fill.

    label: its name in messages and footers. variant: None where nothing is stored for it.
    printed: what an ablation varies, as editions of published numbers name it (see `PrintedKey`);
    None when no edition prints the row. facets: where cells of the variant differ from each other,
    the values that are this row's. note: what the leading words do not say of it, "" for nothing.
    """

    group: str
    label: str
    lead: tuple[str, ...]
    method: str
    variant: Variant | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    printed: dict[str, str] | None = field(default_factory=dict)
    facets: tuple[tuple[Facet, str | None], ...] = ()
    note: str = ""

    def takes(self, record: CellRecord) -> bool:
        """Whether the record belongs to this row."""
        if self.variant is None or variant_of(record) != self.variant:
            return False
        own = facets(record) if self.facets else {}
        return all(own.get(name) == value for name, value in self.facets)
