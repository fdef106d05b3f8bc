"""The papers' numbers: complete, as printed, and different where the editions differ."""

from collections import Counter

import pytest

from bench.core.errors import BenchError
from bench.experiments.matrices import TableBlock
from bench.reporting.published import (
    differences,
    edition_names,
    load_edition,
    only_in,
    require_editions,
)

V1, AAAI = load_edition("arxiv-v1"), load_edition("aaai2025")


@pytest.mark.parametrize(
    "edition, method, where, metric, printed, table",
    [
        (AAAI, "gms", ("bus", "bus"), "hd95", "6.79", 1),
        (AAAI, "acc_unet", ("kvasir-instrument", "kvasir-instrument"), "dsc", "93.91", 2),
        (V1, "acc_unet", ("kvasir-instrument", "kvasir-instrument"), "dsc", "93.95", 2),
        (AAAI, "nnunet", ("kvasir-instrument", "kvasir-instrument"), "iou", "90.20", 2),
        (AAAI, "ege_unet", ("ham10000", "ham10000"), "dsc", "93.90", 2),
        (AAAI, "acc_unet", ("bus", "busi"), "hd95", "135.24", 3),
        (V1, "gms", ("busi", "bus"), "iou", "71.99", 3),
        (V1, "swin_unet", ("bus", "busi"), "dsc", "57.47", 3),
        (AAAI, "ege_unet", ("", ""), "params_m", "0.05", 1),
        (V1, "sme_swin_unet", ("", ""), "params_m", "169.8", 1),
    ],
)
def test_printed_numbers_of_the_method_tables(edition, method, where, metric, printed, table):
    number = edition.find(method, metric, train=where[0], test=where[1])
    assert (number.printed, number.table) == (printed, table)
    assert number.value == float(printed)


@pytest.mark.parametrize(
    "edition, row, metric, printed, table",
    [
        (V1, {"loss": "seg"}, "iou", "69.87", 4),
        (AAAI, {"loss": "seg"}, "hd95", "24.78", 4),
        (AAAI, {"loss": "lm+seg"}, "dsc", "81.43", 4),
        (AAAI, {"tokenizer": "vq-vae"}, "dsc", "79.23", 5),
        (AAAI, {"tokenizer": "sd-vae"}, "iou", "72.58", 5),
    ],
)
def test_printed_numbers_of_the_ablations_on_busi(edition, row, metric, printed, table):
    number = edition.find("gms", metric, train="busi", test="busi", **row)
    assert (number.printed, number.table) == (printed, table)


def test_every_number_of_every_table_is_there():
    per_table = {
        "arxiv-v1": {1: 9, 2: 9 * 10, 3: 11 * 4, 4: 9 * 2},
        "aaai2025": {1: 12 * 7, 2: 12 * 9, 3: 14 * 4, 4: 3 * 9, 5: 2 * 9},
    }
    assert edition_names() == sorted(per_table)
    for edition in (V1, AAAI):
        assert Counter(n.table for n in edition.numbers) == per_table[edition.name]
        assert set(edition.tables) == set(per_table[edition.name])


def test_no_number_is_stored_twice():
    for edition in (V1, AAAI):
        assert len({n.key.coordinates for n in edition.numbers}) == len(edition.numbers)


def test_the_editions_print_one_shared_number_differently():
    (only,) = differences("arxiv-v1", "aaai2025")
    assert (only.key.method, only.key.test, only.key.metric) == (
        "acc_unet",
        "kvasir-instrument",
        "dsc",
    )
    assert (only.first, only.second) == ("93.95", "93.91")


def test_what_only_one_edition_prints():
    """v1 alone: cross-domain IoU. AAAI alone: every HD95, three methods, the tokenizer table."""
    gone = only_in("arxiv-v1", "aaai2025")
    assert len(gone) == 11 * 2
    assert {(n.key.metric, n.key.train != n.key.test) for n in gone} == {("iou", True)}
    for number in only_in("aaai2025", "arxiv-v1"):
        assert (
            number.key.metric == "hd95"
            or number.key.method in {"nnunet", "medsegdiff_v2", "sdseg"}
            or "tokenizer" in number.key.variant
        )


def test_the_printed_marks_are_the_best_and_second_best_numbers():
    """Of AAAI's tables with bold and underline: recomputed from the printed numbers."""
    columns: dict[tuple, list] = {}
    for n in AAAI.numbers:
        if n.table in (1, 2, 3) and n.key.metric != "params_m":
            columns.setdefault((n.table, n.key.train, n.key.test, n.key.metric), []).append(n)
    assert len(columns) == 6 + 9 + 4
    for (*_, metric), numbers in columns.items():
        ranked = sorted(numbers, key=lambda n: n.value, reverse=metric != "hd95")
        assert [n.mark for n in ranked[:2]] == ["best", "second"]
        assert {n.mark for n in ranked[2:]} == {""}


def test_a_combination_that_no_table_prints_is_none():
    assert AAAI.find("gms", "iou", train="busi", test="bus") is None
    assert V1.find("nnunet", "dsc", train="bus", test="bus") is None


def test_an_unknown_edition_gets_the_nearest_name():
    with pytest.raises(BenchError, match="Did you mean 'aaai2025'.*arxiv-v1"):
        load_edition("aaai2024")


def test_names_and_orders_as_printed():
    assert AAAI.printed_name("nnunet") == ("CNN", "nnUNet")
    assert AAAI.printed_name("mixstyle") == ("", "MixStyle")  # in a table without types only
    assert AAAI.printed_name("gms") == ("Generative", "GMS")
    assert AAAI.printed_name("other") == ("", "other")
    assert AAAI.orders[2][7:11] == ("uctransnet", "mixstyle", "dsu", "medsegdiff_v2")
    assert AAAI.orders[3] == ("gms",)


def test_ones_own_edition_is_a_pair_of_files(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'title = "Mine"\ncitation = "c"\nurl = "u"\nnotes = []\n[tables]\n1 = "depths"\n'
    )
    (tmp_path / "mine.csv").write_text(
        "table,line,type,model,method,train,test,depth,metric,printed,mark\n"
        "1,1,Deep,UNet-4,unet,busi,busi,4,dsc,71.2,\n"
        "1,2,Deep,UNet,unet,busi,busi,,dsc,70.0,best\n"
    )
    edition = load_edition(str(tmp_path / "mine.toml"))
    assert edition.find("unet", "dsc", train="busi", test="busi", depth="4").printed == "71.2"
    assert edition.find("unet", "dsc", train="busi", test="busi").printed == "70.0"
    assert edition.find("unet", "dsc", train="busi", test="busi", depth="5") is None
    with pytest.raises(BenchError, match="No edition file"):
        load_edition("absent.toml")


def test_a_matrix_with_an_unknown_edition_is_refused_before_any_work():
    table = TableBlock(name="t", caption="c", kind="parameters", edition="aaai25")
    require_editions([table.model_copy(update={"edition": None})])
    with pytest.raises(BenchError, match="Did you mean 'aaai2025'"):
        require_editions([table])
