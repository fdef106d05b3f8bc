"""Odd masks, drawn in characters, and masks that are not odd."""

import numpy as np
import pytest

from bench.data.audit.manifest import LIMITS, Limits
from bench.data.audit.masks import mask_facts, mask_lines, odd_masks


def mask(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


INSIDE = mask("....", ".##.", ".##.", "....")
KINDS = {
    "empty": mask("....", "....", "....", "...."),
    "full": mask("####", "####", "####", "####"),
    "border": mask("....", ".##.", ".##.", "..#."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_mask_is_of_its_kind_and_of_no_other(kind):
    found = odd_masks({"good": mask_facts(INSIDE), "odd": mask_facts(KINDS[kind])}, LIMITS)
    assert {name: getattr(found, name) for name in KINDS} == {
        name: ("odd",) if name == kind else () for name in KINDS
    }


def test_parts_that_touch_at_a_corner_are_one():
    specks = mask("#.#.#", ".....", "#.#.#", ".....", ".#...")
    assert mask_facts(specks).parts == 7
    assert mask_facts(mask("#..", ".#.", "..#")).parts == 1
    facts = {"specks": mask_facts(specks)}
    assert odd_masks(facts, Limits(many_parts=7)).many_parts == ()
    assert odd_masks(facts, Limits(many_parts=6)).many_parts == ("specks",)


def test_inverted_needs_most_masks_not_some():
    good, inverted = mask_facts(INSIDE), mask_facts(~INSIDE)
    assert inverted.looks_inverted and not good.looks_inverted
    assert odd_masks({"a": inverted, "b": inverted, "c": good}, LIMITS).inverted
    assert not odd_masks({"a": inverted, "b": good}, LIMITS).inverted


def test_objects_that_fill_most_of_the_image_are_not_inverted():
    """As in GlaS: more than half is foreground, and less at the edge than inside."""
    glands = mask("##.##", "#####", ".###.", "#####", "#.##.")
    assert mask_facts(glands).share > 0.5 and not mask_facts(glands).looks_inverted


def test_sizes_and_levels_that_nobody_recorded_are_counted_not_guessed():
    facts = {
        "old": mask_facts(INSIDE),
        "soft": mask_facts(INSIDE, misfits=0, soft=3),
        "other": mask_facts(INSIDE, misfits=1, soft=0),
    }
    found = odd_masks(facts, LIMITS)
    assert (found.antialiased, found.size_differs, found.not_recorded) == (("soft",), ("other",), 1)


def test_lines_name_what_occurs_and_nothing_else():
    facts = {"a": mask_facts(KINDS["empty"], 0, 0), "b": mask_facts(INSIDE, 0, 9)}
    assert mask_lines(odd_masks(facts, LIMITS), LIMITS) == [
        "1 mask(s) empty: a",
        "1 mask(s) with grey levels between background and foreground (antialiased or JPEG): b",
    ]
