"""Dataset cards: the shipped ones are complete, and a wrong one is refused by field."""

import re
from importlib.metadata import EntryPoint

import pytest
from data_doubles import SHARED

from bench.core.errors import BenchError
from bench.data import cards
from bench.data.cards import Card, card_files, list_cards, load_card, read_card
from bench.data.phantoms import STYLES

NAMES = ["bus", "busi", "glas", "ham10000", "kvasir-instrument", "stu"]

OWN = """
name = "mine"
title = "Mine"
modality = "x-ray"
publisher = "me"
licence = "none"
citation = "none"
mask_rule = "> 0"
[access]
kind = "open"
page = "https://example.org/"
[[layouts]]
name = "simple"
example = "images/1.png with masks/1.png"
image = 'images/(?P<id>\\d+)\\.png'
mask = 'masks/(?P<id>\\d+)\\.png'
"""


def test_six_datasets_are_shipped():
    assert [card.name for card in list_cards()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_card_names_its_source_and_licence(name):
    card = load_card(name)
    assert card_files()[name].stem == card.name
    assert card.licence and "@" in card.citation and card.access.page.startswith("https://")
    assert card.phantom in (*STYLES, None)
    assert card.expected is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_layout_matches_its_own_example(name):
    for layout in load_card(name).layouts:
        image, mask = layout.example.split(" with ")
        found = [
            re.fullmatch(f"(?:.*/)?(?:{pattern})", path)
            for pattern, path in ((layout.image, image), (layout.mask, mask))
        ]
        assert len({layout.id.format(**hit.groupdict()) for hit in found}) == 1


@pytest.mark.parametrize(
    "name, cases",
    [
        ("bus", 163),
        ("busi", 647),
        ("glas", 165),
        ("ham10000", 10015),
        ("kvasir-instrument", 590),
        ("stu", 42),
    ],
)
def test_expected_counts(name, cases):
    assert load_card(name).expected.cases == cases


def test_bus_is_by_request_and_the_ultrasound_sets_share_a_modality():
    assert load_card("bus").access.kind == "request"
    assert {load_card(name).modality for name in ("bus", "busi", "stu")} == {"breast ultrasound"}
    assert load_card("stu").external


def test_the_hash_is_of_the_facts_not_of_the_formatting(tmp_path):
    first, second, third = (tmp_path / f"{i}.toml" for i in range(3))
    first.write_text(OWN)
    second.write_text("# a comment\n" + OWN.replace('"mine"', "'mine'"))
    third.write_text(OWN.replace('"> 0"', '"> 127"'))
    assert read_card(first).hash == read_card(second).hash != read_card(third).hash


def test_a_users_own_card_is_listed_with_the_shipped_ones(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    assert isinstance(load_card("mine", [tmp_path / "own.toml"]), Card)


def test_an_installed_package_brings_a_card(tmp_path, monkeypatch):
    path = tmp_path / "own.toml"
    path.write_text(OWN)

    class Entry:
        name, value = "mine", "pkg:CARD"

        def load(self):
            return str(path)

    monkeypatch.setattr(cards, "entry_points", lambda group: [Entry()])
    assert load_card("mine").title == "Mine"
    Entry.name = "busi"
    with pytest.raises(BenchError, match=r"pkg:CARD.*second dataset named 'busi'"):
        list_cards()


def test_an_unknown_name_gets_the_nearest_and_the_list():
    with pytest.raises(BenchError, match=r"No dataset named 'glass'\. Did you mean 'glas'\?.*busi"):
        load_card("glass")


@pytest.mark.parametrize(
    "change, field",
    [
        (('mask_rule = "> 0"', 'mask_rule = "> 5"'), "mask_rule"),
        (('licence = "none"', ""), "licence"),
        (('title = "Mine"', 'titel = "Mine"'), "titel"),
        (("masks/(?P<id>", "masks/(?P<id"), r"layouts\.0\.mask"),
        (("images/(?P<id>\\d+)", "images/\\d+"), "image captures no group named id"),
        (('kind = "open"', 'kind = "request"'), "access.*needs `how`"),
        (('name = "mine"', 'name = "My Data"'), "name"),
        (("[access]", "[access"), "TOML"),
    ],
)
def test_a_wrong_card_is_refused_by_file_and_field(tmp_path, change, field):
    path = tmp_path / "own.toml"
    assert change[0] in OWN
    path.write_text(OWN.replace(*change))
    with pytest.raises(BenchError, match=rf"(?s)own\.toml.*{field}"):
        read_card(path)


def test_a_card_that_is_not_there(tmp_path):
    with pytest.raises(BenchError, match=r"No card at .*none\.toml"):
        read_card(tmp_path / "none.toml")


def test_a_users_card_may_not_take_a_shipped_name(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace('name = "mine"', 'name = "busi"'))
    with pytest.raises(BenchError, match=r"own.toml is named 'busi', a name that .*busi.toml has"):
        list_cards([path])
    path.write_text(card_files()["busi"].read_text())  # a copy would part from it unnoticed
    with pytest.raises(BenchError, match="choose another `name`"):
        list_cards([path])


def test_one_file_named_twice_is_one_card(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    assert [card.name for card in list_cards([path, path])] == sorted([*NAMES, "mine"])
    assert [card.name for card in list_cards([card_files()["busi"]])] == NAMES


def test_a_packages_card_may_not_take_a_shipped_name_under_another_entry_point(
    tmp_path, monkeypatch
):
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace('name = "mine"', 'name = "busi"'))
    entry = EntryPoint("mine", "pkg:CARD", "bench.datasets")
    monkeypatch.setattr(cards, "entry_points", lambda group: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda self: str(path))
    with pytest.raises(BenchError, match=r"own.toml is named 'busi', a name that .*busi.toml has"):
        list_cards()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared split lists are not here")
@pytest.mark.parametrize("name", NAMES[:-1])
def test_case_ids_are_those_of_the_authors_lists(name):
    from bench.data.import_split import read_lists

    file = name.removesuffix("-instrument")
    lists = read_lists(SHARED / "splits" / f"{file}_train_test_names.pkl")
    (simple,) = [layout for layout in load_card(name).layouts if "images/" in layout.image]
    for case_id in (*lists["train"], *lists["test"]):
        ext = "jpg" if name in ("ham10000", "kvasir-instrument") else "png"
        hit = re.fullmatch(simple.image, f"images/{case_id}.{ext}")
        assert simple.id.format(**hit.groupdict()) == case_id
