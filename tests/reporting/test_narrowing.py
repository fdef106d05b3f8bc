"""What a report on a part of the stored cells shows, and the names of its files."""

import pytest
from records import cell

from bench.experiments.matrices import CellBlock, Matrix, TableBlock
from bench.reporting.tables.narrowing import EVERYTHING, Narrowing, effective, left_out, reportable

METHODS = TableBlock(name="t1", caption="c", kind="methods", datasets=("busi", "glas"))
CROSS = TableBlock(
    name="t3", caption="c", kind="cross-domain", pairs=(("busi", "bus"), ("bus", "busi"))
)
PARAMETERS = TableBlock(name="p", caption="c", kind="parameters")
MATRIX = Matrix(
    name="m", title="m", tables=(METHODS,), cells=(CellBlock(methods=("unet", "gms"), train=("busi",)),)
)  # fmt: skip


@pytest.mark.parametrize(
    "part, suffix, words",
    [
        (EVERYTHING, "", ""),
        (
            Narrowing(("unet", "gms"), ("busi",), (1, 2)),
            "--methods-unet+gms--datasets-busi--seeds-1+2",
            "methods unet, gms; datasets busi; seeds 1, 2",
        ),
        (Narrowing(("smp:unet/resnet34",)), "--methods-smp-unet-resnet34", "methods smp:unet/resnet34"),
        (Narrowing(epochs="own"), "--epochs-own", "epochs own"),
        (Narrowing(part=True), "--this-run", "the cells of one run"),
    ],
)  # fmt: skip
def test_a_part_is_named_in_files_and_in_words(part, suffix, words):
    assert (part.suffix, part.words) == (suffix, words)


def test_many_names_are_counted_in_a_file_name_and_still_tell_two_parts_apart():
    names = tuple(f"method-{number}" for number in range(9))
    one, other = Narrowing(names).suffix, Narrowing(("another", *names[1:])).suffix
    assert one.startswith("--methods-9-") and len(one) < 30 and one != other


def test_blocks_keep_the_columns_that_were_asked_for():
    blocks = Narrowing(datasets=("busi",)).blocks([METHODS, CROSS, PARAMETERS])
    assert [(b.name, b.datasets, b.pairs) for b in blocks] == [
        ("t1", ("busi",), ()),
        ("t3", (), (("busi", "bus"),)),
        ("p", (), ()),
    ]
    assert Narrowing(datasets=("stu",)).blocks([METHODS, CROSS]) == []


def test_only_what_leaves_something_out_narrows(tmp_path):
    stored = [cell(tmp_path, m, seed=seed) for m in ("unet", "gms") for seed in (0, 1)]
    whole = Narrowing(("gms", "unet"), ("glas", "busi"), (0, 1, 2), "20")
    assert effective(whole, MATRIX, stored, stored) == EVERYTHING
    part = Narrowing(("gms",), ("busi",), (0,))
    assert effective(part, MATRIX, stored, stored[2:3]).suffix == part.suffix
    # The matrix names a method that is not stored: the part is one all the same.
    assert effective(Narrowing(("gms",)), MATRIX, stored[2:], stored[2:]).methods == ("gms",)


def test_variants_that_no_table_would_show_are_not_left_out(tmp_path):
    plain = cell(tmp_path, "gms")
    stored = [plain, cell(tmp_path, "gms", changed={"loss": "lm"})]
    assert reportable([METHODS], stored, "test") == [plain]
    assert left_out(EVERYTHING, [plain], [plain]) == []


def test_a_cell_is_left_out_for_the_first_reason_that_holds(tmp_path):
    part = Narrowing(methods=("unet",), seeds=(0,), epochs="20")
    stored = [
        cell(tmp_path, "unet"),
        cell(tmp_path, "gms", seed=1),
        cell(tmp_path, "unet", seed=1),
        cell(tmp_path, "unet", epochs=4),
    ]
    assert [part.against(record) for record in stored] == ["", "methods", "seeds", "epochs"]
    (line,) = left_out(part, stored, stored[:1])
    assert line == (
        "Stored and left out: 3 cells: epochs 4 (1); methods gms (1); seeds 1 (1). `bench report` "
        "shows all."
    )
