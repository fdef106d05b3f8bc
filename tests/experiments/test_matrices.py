import pytest

from bench.core.errors import BenchError
from bench.experiments.cells import TestSet as Cases
from bench.experiments.matrices import (
    Overrides,
    expand,
    get_matrix,
    matrix_names,
    merged_order,
)
from bench.protocols import get_profile, get_protocol

CLEAN, DEMO = get_protocol("clean"), get_profile("demo")


def requests(matrix, **overrides):
    return expand(get_matrix(matrix), Overrides(**overrides), CLEAN, DEMO)


def test_every_shipped_matrix_expands():
    for name in matrix_names():
        assert requests(name)


def test_ablations_are_tables_4_and_5():
    found = requests("ablations")
    assert {r.train for r in found} == {"busi", "ham10000", "kvasir-instrument"}
    combinations = {(r.settings["loss"], r.tokenizer) for r in found}
    assert combinations == {
        ("lm", "continuous"),
        ("seg", "continuous"),
        ("lm+seg", "continuous"),
        ("lm+seg", "discrete"),
    }
    assert len(found) == 12  # the compound loss on the continuous tokenizer is asked for once


def test_in_domain_is_twelve_methods_on_five_datasets():
    found = requests("in-domain", seeds=(0, 1))
    assert len(found) == 12 * 5 * 2
    assert all(r.tests == (Cases(dataset=r.train),) for r in found)


def test_cross_domain_trains_each_method_once_a_direction():
    found = requests("cross-domain")
    assert len(found) == 28
    busi = next(r for r in found if r.train == "busi")
    assert [t.dataset for t in busi.tests] == ["busi", "bus"]


def test_paper_is_the_union():
    names = [t.name for t in get_matrix("paper").tables]
    assert len(names) == 6 and len(set(names)) == 6
    assert (
        len(requests("paper"))
        == len([*requests("in-domain"), *requests("cross-domain"), *requests("ablations")]) - 24
    )  # a training for cross-domain serves in-domain too: 12 methods on two datasets


def test_overrides_narrow_and_replace():
    found = requests("in-domain", methods=("gms",), datasets=("glas",), settings={"loss": "lm"})
    assert [(r.method, r.train, r.settings) for r in found] == [("gms", "glas", {"loss": "lm"})]
    with pytest.raises(BenchError, match="no cell for these overrides.*bus, busi"):
        requests("in-domain", datasets=("stu",))


def test_foreign_test_subset_follows_the_protocol():
    rules = CLEAN.model_copy(update={"external_subset": "all"})
    found = expand(get_matrix("cross-domain"), Overrides(methods=("unet",)), rules, DEMO)
    assert {(t.dataset, t.subset) for r in found if r.train == "busi" for t in r.tests} == {
        ("busi", "test"),
        ("bus", "all"),
    }


def test_own_matrix_files_and_their_mistakes(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "t"\n[[cells]]\nmethods = ["unet"]\ntrain = ["busi"]\ntest = ["stu"]\n'
    )
    (request,) = expand(get_matrix(str(file)), Overrides(), CLEAN, DEMO)
    assert request.tests == (Cases(dataset="stu"),)
    file.write_text('title = "t"\n[[cells]]\nmethod = ["unet"]\n')
    with pytest.raises(BenchError, match=r"mine\.toml cannot be used"):
        get_matrix(str(file))
    with pytest.raises(BenchError, match="Did you mean 'ablations'"):
        get_matrix("ablation")
    with pytest.raises(BenchError, match="No matrix file"):
        get_matrix("absent.toml")


def test_protocols_and_profiles_by_name():
    assert get_protocol("paper").selection == "best-test"
    with pytest.raises(BenchError, match="Did you mean 'clean'"):
        get_protocol("clen")
    with pytest.raises(BenchError, match="No profile named 'demos'"):
        get_profile("demos")


# ---- what the matrix file says of its tables


@pytest.mark.parametrize(
    "lists, order",
    [
        ([["a", "b", "c"]], "abc"),
        ([["a", "c"], ["a", "b", "c"]], "abc"),  # after the one it follows
        ([["b", "c"], ["a", "b"]], "abc"),  # before the next known one
        ([["a", "b"], ["x", "y"]], "abxy"),  # nothing in common: last
        ([["b", "a"], ["a", "b", "c"]], "bca"),  # the earlier list wins
        ([], ""),
    ],
)
def test_orders_of_methods_are_merged(lists, order):
    assert "".join(merged_order(lists)) == order


def test_rows_stand_in_the_order_of_the_cells():
    table = get_matrix("cross-domain").tables[0]
    assert table.order[7:11] == ("uctransnet", "mixstyle", "dsu", "medsegdiff_v2")
    assert get_matrix("paper").order[7:11] == table.order[7:11]


def test_reference_and_edition_survive_an_include(tmp_path):
    (tmp_path / "one.toml").write_text(
        'title = "t"\nreference = "unet"\nedition = "arxiv-v1"\n'
        '[[cells]]\nmethods = ["gms", "unet"]\ntrain = ["busi"]\n'
        '[[tables]]\nname = "a"\ncaption = "c"\nkind = "parameters"\n'
    )
    (tmp_path / "two.toml").write_text(
        f'title = "t"\ninclude = ["in-domain", "{tmp_path}/one.toml"]\nreference = "dsu"\n'
        '[[tables]]\nname = "b"\ncaption = "c"\nkind = "parameters"\n'
    )
    matrix = get_matrix(str(tmp_path / "two.toml"))
    found = {t.name: (t.reference, t.edition, t.order[0]) for t in matrix.tables}
    assert found["table1-ultrasound"] == ("gms", "aaai2025", "unet")
    assert found["a"] == ("unet", "arxiv-v1", "gms")
    assert found["b"] == ("dsu", "aaai2025", "unet")
    assert (matrix.reference, matrix.edition) == ("dsu", "aaai2025")
    paper = get_matrix("paper")
    assert {(t.reference, t.edition) for t in paper.tables} == {("gms", "aaai2025")}


ABLATION = """
title = "t"
[[tables]]
name = "a"
caption = "c"
kind = "ablation"
datasets = ["busi"]
method = "unet"
varies = ["depth"]
headers = ["Depth"]
rows = [{ settings = { depth = 4 } }]
"""


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('method = "unet"', "", "'a' is of kind 'ablation'; add method"),
        ('datasets = ["busi"]', "", "add datasets"),
        ('["Depth"]', "[]", "add headers"),
        ('["depth"]', '["depth", "tokenizer"]', "varies more than it has headers"),
        ("depth = 4", "width = 4", "row 1: give a value of each of depth and of nothing else"),
        ("= 4 }", '= 4 }, tokenizer = "vq"', "row 1: give a value of each of depth"),
        ("= 4 }", '= 4 }, words = ["4", "x"]', "row 1: give a word per header"),
        ("headers", 'footnotes_at = "Width"\nheaders', "footnotes_at must be one of its headers"),
        ('"ablation"', '"methods"', "method is for kind 'ablation' only"),
        ('"ablation"', '"cross-domain"', "is of kind 'cross-domain'; add pairs"),
        ('"ablation"', '"losses"', "mine.toml cannot be used.*kind"),
    ],
)
def test_mistakes_in_a_table_are_named_when_the_file_is_read(tmp_path, old, new, words):
    file = tmp_path / "mine.toml"
    file.write_text(ABLATION)
    assert get_matrix(str(file)).tables[0].rows[0].settings == {"depth": 4}
    file.write_text(ABLATION.replace(old, new, 1))
    with pytest.raises(BenchError, match=words):
        get_matrix(str(file))
