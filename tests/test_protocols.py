"""The shipped protocols, and that docs/protocols.md describes them as they are."""

import re

import pytest

from bench.core.errors import BenchError
from bench.core.paths import PACKAGE
from bench.protocols import Protocol, get_protocol, protocol_names

PAGE = (PACKAGE.parent / "docs" / "protocols.md").read_text()


def facts(name: str) -> tuple:
    """Split, validation share, selection, its metric, resize, recipe, precision and preset."""
    it = get_protocol(name)
    chosen = (it.selection, it.selection_metric, it.resize)
    return it.split, it.val_share, *chosen, it.recipe, it.precision, it.preset


RELEASED = ("best-test", "soft-dice", "opencv")


def test_the_shipped_protocols_hold_what_their_titles_say():
    assert {name: facts(name) for name in protocol_names()} == {
        "paper": ("listed", 0.0, *RELEASED, "native", "fp32", "as-released"),
        "paper80": ("random80", 0.0, *RELEASED, "native", "fp32", "as-released"),
        "clean": ("default", 0.2, "best-val", "dsc", "pillow", "native", None, None),
        "grouped": ("grouped", 0.2, "best-val", "dsc", "pillow", "native", None, None),
        "dedup": ("dedup", 0.2, "best-val", "dsc", "pillow", "native", None, None),
        "tuned": ("default", 0.2, "best-val", "dsc", "pillow", "tuned", None, None),
    }


def test_no_shipped_protocol_has_a_budget():
    assert {get_protocol(name).budget for name in protocol_names()} == {None}


def first_cells(heading: str) -> set[str]:
    """The names in backticks in the first column of the table below a heading."""
    table = PAGE.split(heading)[1].split("\n\n|")[1].split("\n\n")[0]
    leads = [line.split("|")[0] or line.split("|")[1] for line in table.splitlines()]
    return {name for lead in leads for name in re.findall(r"`(\w+)`", lead)}


def test_the_page_lists_every_protocol_and_every_field():
    assert first_cells("# Protocols") == set(protocol_names())
    assert first_cells("## Fields") == set(Protocol.model_fields) - {"name"}


def test_a_file_that_selects_on_nothing_is_refused_by_name(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[mine]\ntitle = "x"\nsplit = "default"\nval_share = 0\nselection = "best-val"\n'
        'recipe = "native"\n'
    )
    with pytest.raises(BenchError, match="mine.toml.*holds none out"):
        get_protocol(f"{file}:mine")


def test_a_metric_that_chooses_nothing_is_refused():
    values = get_protocol("clean").model_dump() | {"selection": "last"}
    assert Protocol(**values).selection == "last"
    with pytest.raises(ValueError, match="keeps the last epoch, and selection_metric 'soft-dice'"):
        Protocol(**values | {"selection_metric": "soft-dice"})
