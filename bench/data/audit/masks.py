"""Facts of one mask, and the odd masks of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from bench.data.audit.manifest import Limits, Masks

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class MaskFacts:
    """foreground, pixels: of the joined mask. edge: foreground share of its outermost pixels, in
    [0, 1]. parts: connected parts, by 8 neighbours.

    misfits: mask files whose size is not the image's. soft: pixels of the mask files with levels
    between background and foreground. Both are None where preparing did not record them.
    """

    foreground: int
    pixels: int
    edge: float
    parts: int
    misfits: int | None = None
    soft: int | None = None

    @property
    def share(self) -> float:
        """Foreground share of the image, in [0, 1]."""
        return self.foreground / self.pixels

    @property
    def looks_inverted(self) -> bool:
        """Whether foreground covers more than half, and the edge more than the whole.

        The share alone would name GlaS, whose glands fill more than half of most images. Objects
        stand inside the image, so a mask that is right has less foreground at the edge.
        """
        return self.share > 0.5 and self.edge > self.share


def mask_facts(
    mask: NDArray[np.bool_], misfits: int | None = None, soft: int | None = None
) -> MaskFacts:
    """The facts of a joined mask, bool (H, W)."""
    edge = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return MaskFacts(
        foreground=int(mask.sum()),
        pixels=mask.size,
        edge=float(edge.mean()),
        parts=int(label(mask, EIGHT_NEIGHBOURS)[1]),
        misfits=misfits,
        soft=soft,
    )


def odd_masks(facts: Mapping[str, MaskFacts], limits: Limits) -> Masks:
    """The odd masks among those of a dataset, by case id."""

    def where(condition: Mapping[str, bool]) -> tuple[str, ...]:
        return tuple(sorted(case for case, holds in condition.items() if holds))

    full = where({case: one.foreground == one.pixels for case, one in facts.items()})
    inverted = sum(one.looks_inverted for one in facts.values())
    return Masks(
        empty=where({case: one.foreground == 0 for case, one in facts.items()}),
        full=full,
        border=where({case: one.edge > 0 and case not in full for case, one in facts.items()}),
        many_parts=where({case: one.parts > limits.many_parts for case, one in facts.items()}),
        size_differs=where({case: bool(one.misfits) for case, one in facts.items()}),
        antialiased=where({case: bool(one.soft) for case, one in facts.items()}),
        inverted=2 * inverted > len(facts),
        not_recorded=sum(one.misfits is None for one in facts.values()),
    )


def mask_lines(masks: Masks, limits: Limits) -> list[str]:
    """What is odd, a line each with the number of cases; no line for what does not occur."""
    counts = {
        "empty": masks.empty,
        "full": masks.full,
        "touching the border": masks.border,
        f"with more than {limits.many_parts} connected parts": masks.many_parts,
        "with a file of another size than the image": masks.size_differs,
        "with grey levels between background and foreground (antialiased or JPEG)": (
            masks.antialiased
        ),
    }
    lines = [
        f"{len(cases)} mask(s) {words}: {', '.join(cases[:5])}" + (" ..." if cases[5:] else "")
        for words, cases in counts.items()
        if cases
    ]
    if masks.inverted:
        lines.append(
            "masks look inverted: in most, foreground covers more than half of the image and still "
            "more of its edge; look at one, and prepare a corrected copy"
        )
    return lines
