"""How a cell's method was set up: what tells the cells of one method apart."""

import json
from dataclasses import dataclass
from typing import Any

from bench.experiments.cells import CellRecord


@dataclass(frozen=True)
class Variant:
    """A method with the settings that are not its defaults, and its tokenizer.

    Settings that a preset of profile or protocol gave do not count. changes: JSON, keys sorted. own_role: the
    tokenizer's role is the one that the method asks for.
    """

    method: str
    changes: str = "{}"
    tokenizer: str | None = None
    role: str | None = None
    own_role: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The changes as a mapping."""
        changes: dict[str, Any] = json.loads(self.changes)
        return changes

    @property
    def text(self) -> str:
        """Settings and tokenizer in one line: "", "tiny-kl", "loss=lm, tiny-vq"."""
        words = [f"{key}={value}" for key, value in self.settings.items()]
        return ", ".join([*words, *([self.tokenizer] if self.tokenizer else [])])


def variant_of(record: CellRecord) -> Variant:
    """The variant a cell is of."""
    key, preset = record.key, record.key.preset
    own = {k: v for k, v in key.changed.items() if k not in preset}
    # A setting put back to its default is none of `changed`, and still not the preset's.
    own |= {k: key.settings[k] for k, v in preset.items() if key.settings.get(k, v) != v}
    tokenizer = key.tokenizer
    return Variant(
        key.method,
        json.dumps(own, sort_keys=True),
        tokenizer.name if tokenizer else None,
        tokenizer.role if tokenizer else None,
        tokenizer is None or tokenizer.role == tokenizer.default_role,
    )
