"""The one home of the empty rule: what a case scores when a mask holds nothing.

Libraries answer 0, 1, NaN, the diagonal or an exception here, and a NaN that a later mean drops
rewards a method for missing lesions. Ours is always a finite number and always counted:

- both masks empty: DSC 1, IoU 1, HD95 0 (nothing to find, nothing said);
- one empty: DSC 0, IoU 0, HD95 = the image diagonal, farther apart than any two pixels.
"""

from typing import Literal

EmptyKind = Literal["none", "target", "pred", "both"]


def which_empty(pred_pixels: int, target_pixels: int) -> EmptyKind:
    """Which of the two masks has no foreground pixel: "none", "target", "pred" or "both"."""
    if pred_pixels and target_pixels:
        return "none"
    if pred_pixels:
        return "target"
    return "pred" if target_pixels else "both"


def overlap_when_empty(kind: EmptyKind) -> float:
    """DSC and IoU of a case with an empty mask: 1.0 for "both", else 0.0.

    Raises ValueError for "none", whose overlap comes from its counts.
    """
    if kind == "none":
        raise ValueError("overlap_when_empty needs an empty mask; got kind 'none'")
    return 1.0 if kind == "both" else 0.0


def distance_when_empty(kind: EmptyKind, diagonal: float) -> float:
    """HD95 in px of a case with an empty mask: 0.0 for "both", else `diagonal` (px).

    Raises ValueError for "none", whose distance comes from its borders.
    """
    if kind == "none":
        raise ValueError("distance_when_empty needs an empty mask; got kind 'none'")
    return 0.0 if kind == "both" else diagonal
