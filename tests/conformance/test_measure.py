"""The efficiency page: measured per method in its own process, gaps visible with a reason."""

import sys

import pandas as pd
import pytest

from bench import registry
from bench.conformance import measure as efficiency
from bench.conformance.matrix_time import _images, paper_matrix
from bench.conformance.measure import measure_methods, to_markdown, write_efficiency
from bench.core.errors import BenchError
from bench.data.cards import list_cards
from bench.experiments.matrices import Overrides, expand, get_matrix
from bench.protocols import get_profile, get_protocol
from bench.registry import use_plugin_files

ROW = {
    "method": "unet",
    "form": "",
    "title": "UNet",
    "trainable_params": 14_751_873,
    "total_params": 14_751_873,
    "gmacs": 22.645834,
    "latency_ms_1": 101.25,
    "latency_ms_8": 790.0,
    "train_images_per_second": 3.5,
    "inference_memory_bytes": 900_000_000,
    "train_memory_bytes": 2_100_000_000,
    "network_side": 224,
    "inference": "predict",
    "baseline_memory_bytes": 300_000_000,
    "device": "cpu",
    "threads": 2,
    "precision": "fp32",
    "train_batch": 8,
    "remarks": "",
}
GAP = {key: None for key in ROW} | {
    "method": "big",
    "form": "",
    "device": "cpu",
    "threads": 2,
    "precision": "fp32",
    "train_batch": 8,
    "remarks": "killed, most often for want of memory",
}


GREEDY = '''"""Takes 400 MB to predict and next to nothing to train."""
import torch
from bench.contracts import MethodSpec
from bench.method import Method

class Greedy(Method):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 1, 1)

    def predict(self, images):
        if images.device.type != "meta":
            torch.ones(100_000_000)
        return self.conv(images).sigmoid()

    def loss(self, batch):
        return {"loss": self.conv(batch.images).mean()}

SPEC = MethodSpec(name="greedy", title="Greedy", family="CNN", summary="none", citation="none",
                  build=lambda settings, context: Greedy())
'''


@pytest.fixture(autouse=True, scope="module")
def no_plugin_outlives_this_file():
    """Other tests list what is registered."""
    before = registry.plugin_files()
    yield
    registry._plugin_files[:] = before


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A registered method and one that cannot be built, measured at 32 px."""
    file = tmp_path_factory.mktemp("plugins") / "unbuildable.py"
    file.write_text(
        "from bench.contracts import MethodSpec\n"
        "def build(settings, context):\n"
        "    raise RuntimeError('no such layer')\n"
        "SPEC = MethodSpec(name='unbuildable', title='Unbuildable', family='CNN', build=build,\n"
        "                  summary='none', citation='none')\n"
    )
    greedy = file.with_name("greedy.py")
    greedy.write_text(GREEDY)
    use_plugin_files([file, greedy])
    names = ["ege_unet", "unbuildable", "greedy"]
    return measure_methods(names, image_size=32, train_batch=2, seconds=0.02)


def test_a_method_is_measured_in_every_column(measured):
    row = measured.iloc[0]
    assert row["trainable_params"] == 53_374
    assert row["network_side"] == 32
    for column in ("latency_ms_1", "latency_ms_8", "train_images_per_second"):
        assert row[column] > 0
    assert row["baseline_memory_bytes"] <= row["inference_memory_bytes"]
    assert row["baseline_memory_bytes"] / 2 < row["train_memory_bytes"]
    assert row["remarks"] == ""


def test_inference_and_training_have_their_own_peak(measured):
    row = measured.iloc[2]
    if row["remarks"]:
        pytest.skip(row["remarks"])  # a system without a peak that can be started anew
    assert row["inference_memory_bytes"] > row["baseline_memory_bytes"] + 350_000_000
    assert row["train_memory_bytes"] < row["inference_memory_bytes"] - 200_000_000


def test_a_method_that_fails_keeps_its_row_with_the_reason(measured):
    row = measured.iloc[1]
    assert row["method"] == "unbuildable"
    assert row["remarks"] == "RuntimeError: no such layer"
    assert pd.isna(row["latency_ms_1"])


def test_unknown_names_are_refused_before_measuring(monkeypatch):
    monkeypatch.setattr(efficiency.subprocess, "run", lambda *a, **k: pytest.fail("measured"))
    with pytest.raises(BenchError, match="No method named 'unett'. Did you mean 'unet'"):
        measure_methods(["ege_unet", "unett"])


def test_a_killed_process_and_an_endless_one_say_so(monkeypatch):
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    endless = [sys.executable, "-c", "import time; time.sleep(60)"]
    line = 'print(\'{"latency_ms_1": 5.0, "remarks": []}\', flush=True)'
    late = [sys.executable, "-c", f"import os; {line}; os.kill(os.getpid(), 9)"]
    too_much = "killed, most often for want of memory: a smaller --train-batch needs less"
    real = efficiency.subprocess.run
    for command, timeout, reason, kept in (
        (killed, 60, too_much, None),
        (endless, 0.2, "not finished after 0.2 s", None),
        (late, 60, too_much, 5.0),
    ):
        monkeypatch.setattr(
            efficiency.subprocess, "run", lambda _, command=command, **k: real(command, **k)
        )
        frame = measure_methods(["unet"], timeout=timeout)
        assert frame["remarks"].tolist() == [reason]
        assert frame["latency_ms_1"].tolist() == [kept]


def test_the_table_shows_gaps_and_their_reasons():
    lines = to_markdown(pd.DataFrame([ROW, GAP])).splitlines()
    assert lines[2] == "| UNet | 14.752 | 14.752 | 22.646 | 101.2 | 790.0 | 3.50 | 0.90 | 2.10 |"
    assert lines[3] == "| big [1]" + " | –" * 8 + " |"
    assert lines[-1] == "[1] big: killed, most often for want of memory."
    assert "Weights are random" in lines[5]
    assert "steps of 8 images" in lines[5]


def test_the_two_forms_of_a_method_on_a_tokenizer_are_told_apart():
    rows = [
        ROW | {"method": "gms", "title": "GMS", "form": form} for form in ("released", "project")
    ]
    text = to_markdown(pd.DataFrame(rows)).splitlines()
    assert text[2].startswith("| GMS, as released [1] |")
    assert text[3].startswith("| GMS [2] |")
    assert "[1] GMS, as released: form released: the tokenizer as published" in "\n".join(text)


def test_a_method_on_a_tokenizer_is_measured_in_both_forms(monkeypatch):
    asked = []
    monkeypatch.setattr(
        efficiency,
        "_in_own_process",
        lambda job, limit: asked.append(job["form"]) or {"remarks": []},
    )
    frame = measure_methods(["unet", "gms"], precision="bf16")
    assert asked == ["", "released", "project"]
    assert frame["precision"].tolist() == ["bf16", "fp32", "bf16"]


def test_the_papers_matrix_by_measured_rates():
    """UNet's five trainings take their images over 3.5 a second; its released form counts nowhere."""
    found = paper_matrix(pd.DataFrame([ROW, GAP, ROW | {"form": "released", "method": "gms"}]))
    assert found.cells == 5 and found.of > 60
    images = 5 * 3600 / found.per_hour * 3.5 / 5
    assert found.hours * 3600 * 3.5 == pytest.approx(5 * images)
    assert "gms" in found.missing and "unet" not in found.missing
    twice = paper_matrix(pd.DataFrame([ROW | {"train_images_per_second": 7.0}]))
    assert twice.per_hour == pytest.approx(2 * found.per_hour)


def test_images_of_a_cell_are_those_of_its_recipe_on_its_dataset():
    """GMS on BUS: 80 % of 163 cases are 130, in 16 batches of 8, for 1000 epochs."""
    requests = expand(
        get_matrix("in-domain"), Overrides(methods=("gms",), datasets=("bus",)),
        get_protocol("clean"), get_profile("paper"),
    )  # fmt: skip
    cards = {card.name: card for card in list_cards()}
    assert _images(requests[0], cards["bus"]) == 16 * 8 * 1000


def test_no_measured_method_of_the_matrix_is_said():
    assert "no method of it was measured" in paper_matrix(pd.DataFrame([GAP])).words


def test_partial_inference_and_another_size_are_footnotes():
    odd = ROW | {"title": "SDSeg", "inference": "predict_step", "network_side": 256}
    assert to_markdown(pd.DataFrame([odd])).splitlines()[-1] == (
        "[1] SDSeg: GMACs and latency are of one step of several that a prediction takes; "
        "the network sees 256 px."
    )


def test_the_page_is_written_as_table_data_provenance_and_figure(tmp_path):
    files = write_efficiency(pd.DataFrame([ROW, GAP]), tmp_path)
    assert [file.name for file in files] == [
        f"efficiency-cpu.{kind}" for kind in ("md", "csv", "json", "png", "pdf")
    ]
    assert sorted(tmp_path.iterdir()) == sorted(files)  # no temporary file is left
    assert len(pd.read_csv(files[1])) == 2
