"""Splits that a protocol cannot use are refused when a run is planned, before any training."""

from dataclasses import replace

import pytest
from pydantic import ValidationError
from requests_of_tests import request

from bench.core.errors import BenchError
from bench.data.prepared import CaseIndex, Imported
from bench.experiments.cells import TestSet
from bench.experiments.runner import RunOptions, plan
from bench.experiments.sources import Sources
from bench.protocols import Protocol, get_protocol

CLEAN = get_protocol("clean")
IDS = tuple(f"c{number}" for number in range(10))


def lists(train: int, val: int, test: int) -> Imported:
    """Imported lists of so many cases each, in order."""
    return Imported(
        dataset="busi", origin="mine.json", sha256="0", train=IDS[:train],
        val=IDS[train : train + val], test=IDS[train + val : train + val + test], foreign=(), unlisted=0,
    )  # fmt: skip


def sources_of(imported: Imported | None, **changes) -> Sources:
    """Sources in which busi has ten cases without a published split."""
    index = CaseIndex(
        dataset="busi", case_ids=IDS, groups=IDS, published_splits=(None,) * 10, classes=(None,) * 10,
        content_hash="0", imported=imported,
    )  # fmt: skip
    found = Sources(request().profile, None, [])
    found._indices["busi"] = replace(index, **changes)
    return found


@pytest.mark.parametrize(
    "imported, words",
    [
        (lists(0, 0, 4), "busi has no training cases under split 'imported'"),
        (lists(6, 0, 0), "busi has no test cases under split 'imported'.*import-split busi FILE"),
    ],
)
def test_a_split_with_an_empty_side_is_refused(imported, words):
    with pytest.raises(BenchError, match=words):
        sources_of(imported).training_split("busi", CLEAN)


def test_best_val_needs_validation_cases():
    without = CLEAN.model_copy(update={"val_share": 0.0})
    with pytest.raises(BenchError, match=r"no validation cases.*'clean' selects.*\(best-val\)"):
        sources_of(lists(6, 0, 4)).training_split("busi", without)
    by_test = without.model_copy(update={"selection": "best-test"})
    assert sources_of(lists(6, 0, 4)).training_split("busi", by_test).val == ()


def test_one_validation_case_is_enough():
    """Scores are per image, so a validation set smaller than a batch is scored as any other."""
    assert len(sources_of(lists(5, 1, 4)).training_split("busi", CLEAN).val) == 1


def test_a_protocol_that_selects_on_nothing_cannot_be_written():
    with pytest.raises(ValidationError, match="holds none out"):
        Protocol.model_validate(CLEAN.model_dump() | {"val_share": 0})
    Protocol.model_validate(CLEAN.model_dump() | {"val_share": 0, "selection": "last"})


@pytest.mark.parametrize("subset", ["test", "all"])
def test_a_test_set_without_cases_is_refused(subset):
    nothing = sources_of(lists(6, 0, 0), case_ids=() if subset == "all" else IDS)
    with pytest.raises(BenchError, match=f"busi has no cases in its subset '{subset}'"):
        nothing.test_cases(TestSet(dataset="busi", subset=subset), CLEAN)


def test_paper_takes_lists_alone_and_says_how_to_import_them():
    paper, paper80 = get_protocol("paper"), get_protocol("paper80")
    with pytest.raises(BenchError, match="bench data import-split busi FILE.*--protocol paper80"):
        sources_of(None).split("busi", paper)
    assert sources_of(lists(6, 0, 4)).split("busi", paper).scheme == "imported"
    published = ("train",) * 6 + ("testA",) * 4
    found = sources_of(None, published_splits=published).split("busi", paper)
    assert (found.scheme, len(found.train), found.val, len(found.test)) == ("published", 6, (), 4)
    drawn = sources_of(lists(6, 0, 4)).split("busi", paper80)
    assert (drawn.scheme, len(drawn.train), len(drawn.test)) == ("random80", 8, 2)


def test_paper_takes_phantoms_by_their_published_split():
    asked = request(protocol=get_protocol("paper"))
    assert Sources(asked.profile, None, []).split("busi", asked.protocol).scheme == "published"


@pytest.mark.parametrize(
    "imported, protocol, words",
    [
        (lists(6, 0, 0), "clean", "no cases in its subset 'test'"),
        (lists(0, 0, 4), "clean", "no training cases"),
        (None, "paper", "bench data import-split busi FILE"),
    ],
)
def test_a_plan_trains_no_such_cell_and_says_why(tmp_path, imported, protocol, words):
    options = RunOptions(tmp_path, None, (), ("cpu",), 1)
    asked = [request(protocol=get_protocol(protocol))]
    (task,) = plan(asked, options, sources_of(imported))
    assert (task.state, task.waits) == ("unavailable", False)
    assert words in task.reason
