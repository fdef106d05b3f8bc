"""What a record states of the data that its cell used."""

from dataclasses import replace
from pathlib import Path

import pytest
from data_doubles import SHARED, glas, make_glas
from requests_of_tests import request

from bench.data.prepare import prepare
from bench.data.prepared import read_index
from bench.data.splits import make_split
from bench.experiments.facts import data_facts
from bench.experiments.sources import Sources
from bench.reporting.tables.data import data_words


def facts_of(folder: Path, data: Path, **changes):
    prepare(glas(), folder, data)
    index = replace(read_index(data / "glas"), **changes)
    return data_facts(glas(), index, make_split(index, "published", 0, 0.2), phantoms=False)


def test_a_part_of_a_dataset_is_one_and_its_size_says_nothing(tmp_path):
    facts = facts_of(make_glas(tmp_path), tmp_path / "data")
    assert (facts.cases, facts.published_cases, facts.complete) == (11, 165, False)
    assert (facts.largest, facts.published_largest) == ((20, 16), (775, 522))
    assert facts.rescaled is None
    split = facts.split
    assert (split.scheme, split.train + split.val, split.test) == ("published", 6, 5)
    assert data_words(facts) == "11 of 165 published cases, 6 patients known"


@pytest.mark.parametrize("largest, rescaled", [((775, 522), False), ((387, 261), True)])
def test_a_complete_copy_of_another_size_is_a_rescaled_one(tmp_path, largest, rescaled):
    facts = facts_of(make_glas(tmp_path, 85, 60, 20), tmp_path / "data", largest=largest)
    assert (facts.complete, facts.rescaled) == (True, rescaled)


def test_cases_without_a_known_group_are_counted_apart(tmp_path):
    folder = make_glas(tmp_path)
    rows = (folder / "Grade.csv").read_bytes().split(b"\r")
    (folder / "Grade.csv").write_bytes(b"\r".join(rows[:4]))
    facts = facts_of(folder, tmp_path / "data")
    assert (facts.groups, facts.grouped) == (3, 3)
    assert data_words(facts).endswith("3 patients known for 3 cases")


def test_phantoms_have_no_published_number():
    asked = request()
    facts = Sources(asked.profile, None, []).facts(asked)["busi"]
    assert facts.phantoms and facts.published_cases is None
    assert (facts.cases, facts.split.test) == (14, 4)
    assert data_words(facts) == "14 phantoms"


def test_the_shared_copy_of_glas_is_complete_and_rescaled(tmp_path):
    folder = SHARED / "data" / "Warwick QU Dataset (Released 2016_07_08)"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}")
    facts = facts_of(folder, tmp_path / "data")
    assert (facts.complete, facts.rescaled, facts.grouped) == (True, True, 165)
    assert data_words(facts) == (
        "all 165 published cases, rescaled copy (at most 387 x 261 px, published 775 x 522), "
        "16 patients known"
    )
