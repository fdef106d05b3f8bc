"""What a tokenizer gives back of a cell's test masks: measured once, stored, printed."""

from pathlib import Path

import pytest
from records import cell

from bench.core.errors import BenchError
from bench.experiments.ceilings import ceiling_key, load_ceiling, load_ceilings, measure_ceilings
from bench.experiments.cells import CellRequest, StoredTest, TestSet, TokenizerKey
from bench.experiments.sources import Sources
from bench.protocols import get_profile, get_protocol
from bench.registry import get_tokenizer
from bench.reporting.tables.ceilings import ceiling_lines
from bench.reporting.tables.table import Column


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A cell of GMS on the smoke profile's phantoms, with the embedded tokenizer."""
    monkeypatch.setenv("GMS_BENCH_CACHE", str(tmp_path / "cache"))
    request = CellRequest(
        method="gms",
        train="busi",
        tests=(TestSet(dataset="busi"),),
        seed=0,
        protocol=get_protocol("clean"),
        profile=get_profile("smoke"),
    )
    tests = Sources(request.profile, None, []).test_digest(request.tests[0], request.protocol)
    weights = get_tokenizer("tiny-kl").weights_hash()
    made = cell(
        tmp_path / "results" / "cells",
        "gms",
        image_size=request.profile.image_size,
        provenance={"request": request.model_dump(mode="json")},
    )
    key = TokenizerKey(
        name="tiny-kl", role="continuous", default_role="continuous", weights_hash=weights
    )
    stored = StoredTest(cases=tests, predictions="p", scoring="s", scores="s")
    return made.model_copy(
        update={
            "key": made.key.model_copy(update={"tokenizer": key}),
            "network_size": request.profile.image_size,
            "tests": {"busi-test": stored},
        }
    )


def lines(record):
    return ceiling_lines([record], [Column("busi", "busi")], {"busi": "BUSI"})


def test_a_ceiling_is_measured_once_and_printed_below_the_table(record):
    (before,) = lines(record)
    assert before.endswith("not measured: tiny-kl on BUSI; run bench tokenizer ceiling.")
    (one,) = measure_ceilings([record], None)
    assert 0.9 < one.mean < 1 and len(one.cases) == get_profile("smoke").test_cases
    assert load_ceiling(record, "busi-test") == one
    assert load_ceilings(record.folder.parent.parent) == [one]
    assert measure_ceilings([record], None) == []
    assert lines(record)[0].endswith(f"tiny-kl: BUSI {100 * one.mean:.2f}.")


def test_other_weights_other_cases_and_other_sizes_have_other_ceilings(record):
    key = ceiling_key(record, "busi-test")
    other = record.model_copy(update={"network_size": 128})
    assert ceiling_key(other, "busi-test") != key
    assert ceiling_key(record, "bus-test") is None
    plain = record.model_copy(update={"key": record.key.model_copy(update={"tokenizer": None})})
    assert ceiling_key(plain, "busi-test") is None and lines(plain) == []


def test_masks_that_the_cell_was_not_scored_on_are_refused(record):
    changed = StoredTest(cases="other", predictions="p", scoring="s", scores="s")
    other = record.model_copy(update={"tests": {"busi-test": changed}})
    with pytest.raises(BenchError, match="busi-test are not those that cell"):
        measure_ceilings([other], None)


def test_weights_that_the_cell_did_not_use_are_refused(record):
    tokenizer = record.key.tokenizer.model_copy(update={"weights_hash": "0" * 64})
    other = record.model_copy(
        update={"key": record.key.model_copy(update={"tokenizer": tokenizer})}
    )
    with pytest.raises(BenchError, match="weights of tiny-kl are not those"):
        measure_ceilings([other], None)


def test_a_damaged_ceiling_is_refused(tmp_path: Path):
    (tmp_path / "ceilings").mkdir()
    (tmp_path / "ceilings" / "a.json").write_text('{"format": 1}')
    with pytest.raises(BenchError, match="no stored ceiling"):
        load_ceilings(tmp_path)
