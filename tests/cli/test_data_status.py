"""`bench data status` in words: what there is, what is missing, the next step."""

from bench.cli.data import _status_words
from bench.data.prepared import Status


def test_a_part_of_a_dataset_says_how_much_is_missing():
    row = Status(
        "busi", "BUSI", "prepared", cases=98, expected=647, imported="lists.pkl",
        warnings=("images are at most 224 x 224 pixels and 1010 x 750 as published: a rescaled copy",),
    )  # fmt: skip
    assert _status_words(row) == [
        "busi: 98 of 647 images, rescaled copy or a part, split lists: lists.pkl",
        "  missing: 549 images",
        "  images are at most 224 x 224 pixels and 1010 x 750 as published: a rescaled copy",
    ]


def test_a_missing_one_says_the_next_step():
    row = Status("bus", "BUS", "missing", expected=163, next_step="bench data prepare bus --from X")
    assert _status_words(row) == [
        "bus: not prepared, 163 images when complete",
        "  next: bench data prepare bus --from X",
    ]


def test_a_complete_one_says_its_groups_and_a_changed_card_what_to_do():
    row = Status("glas", "GlaS", "card changed", cases=165, expected=165, groups=16, next_step="do")
    assert _status_words(row) == ["glas: 165 of 165 images, 16 groups; card changed", "  next: do"]
