"""The leak line of tables, and scores with and without leaked cases: literal rows."""

import pytest
from data_doubles import busi, make_busi, picture
from PIL import Image
from records import case_rows, cell, put_scores

from bench.data.audit.audit import audit, cross
from bench.data.audit.leaks import LeakCounts
from bench.data.audit.report import AuditReport, leaks_by_protocol
from bench.data.import_split import import_split
from bench.data.prepare import prepare
from bench.data.prepared import case_index, read_imported
from bench.experiments.cells import CellRequest, TestSet
from bench.experiments.identity import data_inputs
from bench.experiments.matrices import TableBlock
from bench.experiments.sources import Sources
from bench.protocols import get_profile, get_protocol
from bench.reporting.leak_scores import leak_scores
from bench.reporting.tables import build_tables
from bench.reporting.tables.leaks import leak_line

COUNTS = {"audit": "a" * 64, "unit": "patient", "grouped": 165, "cases": 165, "test": 80}
GLAS = COUNTS | {"groups": 79, "near": 0}
BUSI = COUNTS | {"grouped": 0, "groups": None, "near": 1, "test": 24}


def test_one_line_says_each_dataset_once(tmp_path):
    cells = [
        cell(tmp_path, train="glas", seed=0, provenance={"leaks": GLAS}),
        cell(tmp_path, train="glas", seed=1, provenance={"leaks": GLAS}),
        cell(tmp_path, train="busi", provenance={"leaks": BUSI}),
        cell(tmp_path, train="stu"),
    ]
    assert leak_line(cells, {"glas": "GlaS", "busi": "BUSI"}) == (
        "Leaks: GlaS: 79 of 80 test images share a patient with train; 0 of 80 have a "
        "near-duplicate in train; BUSI: no group ids: not auditable; 1 of 24 has a near-duplicate "
        "in train; stu: not recorded."
    )


def test_cells_of_before_and_after_an_audit_are_both_named(tmp_path):
    before = GLAS | {"audit": None, "near": None}
    cells = [
        cell(tmp_path, train="glas", seed=n, provenance={"leaks": own})
        for n, own in enumerate((before, GLAS))
    ]
    line = leak_line(cells, {})
    assert "near-duplicates not audited / 79 of 80" in line


def test_phantoms_have_no_leaks_to_tell(tmp_path):
    assert leak_line([cell(tmp_path, provenance={"leaks": None})], {}) is None


def test_the_line_stands_below_a_table(tmp_path):
    block = TableBlock(name="t1", caption="Methods", kind="methods", datasets=("glas",))
    (table,) = build_tables([block], [cell(tmp_path, train="glas", provenance={"leaks": GLAS})])
    assert sum(line.startswith("Leaks: glas: 79 of 80 ") for line in table.footer) == 1


@pytest.fixture
def audited(tmp_path):
    """BUSI: benign 1 to 4 and malignant 1 train, malignant 2 and 3 test; malignant 2 = benign 1."""
    source = make_busi(tmp_path / "source")
    picture(1).save(source / "benign" / "benign (1).png")
    picture(1).save(source / "malignant" / "malignant (2).png")
    prepare(busi(), source, tmp_path / "data")
    lists = tmp_path / "lists.txt"
    train = [f"train\tbenign_{n}" for n in (1, 2, 3, 4)] + ["train\tmalignant_1"]
    lists.write_text("\n".join([*train, "test\tmalignant_2", "test\tmalignant_3"]))
    import_split(tmp_path / "data", "busi", lists)
    return tmp_path / "data"


def report_of(data, *others) -> AuditReport:
    own = audit(data / "busi")
    index = case_index(own.index, read_imported(data / "busi"), own.manifest)
    leaks = leaks_by_protocol(index, [get_protocol("clean")], "group")
    return AuditReport(own, index, leaks, [cross(own, audit(data / name)) for name in others])


def request(protocol: str) -> CellRequest:
    return CellRequest(
        method="unet",
        train="busi",
        tests=(TestSet(dataset="busi"),),
        seed=0,
        protocol=get_protocol(protocol),
        profile=get_profile("paper"),
    )


def stored_cell(folder, data, scores, label="busi-test", changed=()):
    """A cell of protocol clean and profile paper whose test cases have these DSCs."""
    asked = request("clean")
    inputs = data_inputs(asked, Sources(asked.profile, data, []))
    record = cell(
        folder,
        provenance={"request": asked.model_dump(mode="json")},
        inputs=inputs | dict(changed),
        dsc={},
    )
    rows = case_rows([{"dsc": value} for value in scores.values()])
    return put_scores(record, label, rows.assign(case_id=list(scores)))


def test_means_with_and_without_the_leaked_case(tmp_path, audited):
    record = stored_cell(tmp_path / "cells", audited, {"malignant_2": 0.9, "malignant_3": 0.5})
    found = leak_scores([record], audited, [], report_of(audited))
    assert found.skipped == {}
    (row,) = found.rows[found.rows["metric"] == "dsc"].to_dict("records")
    assert (row["cases"], row["leaked_cases"], row["protocol"]) == (2, 1, "clean")
    assert (row["mean"], row["without"], row["leaked"]) == pytest.approx((0.7, 0.5, 0.9))
    assert row["difference"] == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["data", "split"])
def test_a_cell_of_other_data_or_another_split_is_left_out_by_name(tmp_path, audited, name):
    scores = {"malignant_2": 0.9, "malignant_3": 0.5}
    record = stored_cell(tmp_path / "cells", audited, scores, changed={name: "other"})
    found = leak_scores([record], audited, [], report_of(audited))
    assert len(found.rows) == 0
    assert found.skipped == {record.id: f"trained with another {name} than is prepared here"}


def test_foreign_test_cases_leak_through_shared_images_and_only_where_audited(tmp_path, audited):
    from bench.data.cards import load_card

    hospital = tmp_path / "stu" / "Hospital"
    hospital.mkdir(parents=True)
    # Image 1 is one of train, image 2 one that BUSI's own test set holds: nothing learned it.
    for number, twin in ((1, "benign_3"), (2, "malignant_3")):
        image = Image.open(audited / "busi" / "images" / f"{twin}.png")
        image.save(hospital / f"Test_Image_{number}.png")
        Image.open(audited / "busi" / "masks" / "benign_3.png").save(
            hospital / f"mask_{number}.png"
        )
    prepare(load_card("stu"), tmp_path / "stu", audited)
    scores = {"Test_Image_1": 0.8, "Test_Image_2": 0.4}
    record = stored_cell(tmp_path / "cells", audited, scores, label="stu-test")
    assert len(leak_scores([record], audited, [], report_of(audited)).rows) == 0
    rows = leak_scores([record], audited, [], report_of(audited, "stu")).rows
    (row,) = rows[rows["metric"] == "dsc"].to_dict("records")
    assert (row["leaked_cases"], row["without"]) == (1, 0.4)


def test_a_record_holds_the_counts_that_the_line_reads(audited):
    """What a cell stores comes back as the same words."""
    sources = Sources(get_profile("paper"), audited, [])
    stored = sources.leaks("busi", get_protocol("clean"))
    assert LeakCounts.model_validate(stored).words() == (
        "no group ids: not auditable; near-duplicates not audited"
    )
    own = audit(audited / "busi").manifest
    own.write(audited / "busi" / "audit")
    stored = Sources(get_profile("paper"), audited, []).leaks("busi", get_protocol("clean"))
    assert (stored["near"], stored["audit"]) == (1, own.hash)
    assert Sources(get_profile("smoke"), None, []).leaks("busi", get_protocol("clean")) is None


def test_an_audit_decides_a_training_only_under_dedup(audited):
    """The hash of the manifest is in the split's digest of `dedup` and of no other protocol."""

    def digests():
        sources = Sources(get_profile("paper"), audited, [])
        return {name: data_inputs(request(name), sources)["split"] for name in ("clean", "dedup")}

    manifest = audit(audited / "busi").manifest
    manifest.write(audited / "busi" / "audit")
    first = digests()
    manifest.model_copy(update={"limits": manifest.limits.model_copy(update={"hit": 0.98})}).write(
        audited / "busi" / "audit"
    )
    second = digests()
    assert first["clean"] == second["clean"] and first["dedup"] != second["dedup"]
