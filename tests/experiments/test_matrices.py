import pytest

from bench.core.errors import BenchError
from bench.experiments.cells import TestSet as Cases
from bench.experiments.matrices import Overrides, expand, get_matrix, matrix_names
from bench.protocols import get_profile, get_protocol

CLEAN, DEMO = get_protocol("clean"), get_profile("demo")


def requests(matrix, **choices):
    return expand(get_matrix(matrix), Overrides(**choices), CLEAN, DEMO)


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


def test_choices_narrow_and_replace():
    found = requests("in-domain", methods=("gms",), datasets=("glas",), settings={"loss": "lm"})
    assert [(r.method, r.train, r.settings) for r in found] == [("gms", "glas", {"loss": "lm"})]
    with pytest.raises(BenchError, match="no cell for these choices.*bus, busi"):
        requests("in-domain", datasets=("stu",))


def test_foreign_test_part_follows_the_protocol():
    rules = CLEAN.model_copy(update={"external_subset": "all"})
    found = expand(get_matrix("cross-domain"), Overrides(methods=("unet",)), rules, DEMO)
    assert {(t.dataset, t.part) for r in found if r.train == "busi" for t in r.tests} == {
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
