"""The time of a training by stored cells: which count, and how their pace is carried over."""

from types import SimpleNamespace

import pytest
from records import cell
from requests_of_tests import request

from bench.experiments.estimate import Expectation, measured
from bench.experiments.identity import Resolution
from bench.experiments.runner import Task
from bench.recipes import Recipe


class TwentyCases:
    """Every split trains on twenty cases."""

    def split(self, dataset, protocol):
        return SimpleNamespace(train=tuple(range(20)))


@pytest.fixture
def task(tmp_path):
    """Ten epochs of twenty images of `unet` on BUSI, as a stored cell in another folder."""
    key = cell(tmp_path / "key", "unet", "busi").key
    recipe = Recipe(name="r", optimizer="sgd", lr=0.1, schedule="constant", epochs=10, batch_size=4)
    resolution = Resolution(
        key=key, recipe=recipe, network_size=96, title="UNet", family="CNN",
        initial_weights="random",
    )  # fmt: skip
    return Task(request(), "train", id="unet-busi-0", resolution=resolution)


def spent(seconds, images=100, device="CPU"):
    return {"train_seconds": seconds, "images_seen": images, "device_class": device}


def guess(task, records, device="cpu"):
    found = Expectation(TwentyCases(), records, device).training(task)
    return found and (found.seconds, found.basis)


def test_the_pace_of_stored_cells_is_carried_over_by_images(task, tmp_path):
    stored = [
        cell(tmp_path, "unet", "busi", seed=1, provenance=spent(10)),
        cell(tmp_path, "unet", "busi", seed=2, provenance=spent(60, images=200)),
        cell(tmp_path, "unet", "glas", provenance=spent(900)),
    ]
    # 0.1 and 0.3 s an image; 200 images to show. The other dataset has larger cells to validate.
    assert guess(task, stored) == (pytest.approx(40), "2 stored cells")
    task.resume = 5
    assert guess(task, stored) == (pytest.approx(20), "2 stored cells")


def test_another_dataset_is_better_than_nothing(task, tmp_path):
    stored = [cell(tmp_path, "unet", "glas", provenance=spent(900))]
    assert guess(task, stored) == (pytest.approx(1800), "1 stored cell")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "gms"}, {"image_size": 224}, {"profile": "paper"}, {"status": "failed"},
        {"provenance": spent(10, device="GPU")}, {"provenance": {"device_class": "CPU"}},
    ],
    ids=str,
)  # fmt: skip
def test_cells_of_another_kind_say_nothing(task, tmp_path, changes):
    stored = [cell(tmp_path, **({"method": "unet", "provenance": spent(10)} | changes))]
    assert guess(task, stored) is None


PAGE = """method,form,train_images_per_second,network_side,precision
gms,project,9.0,96,fp32
unet,released,8.0,96,fp32
unet,,7.0,96,bf16
unet,,6.0,224,fp32
unet,,,96,fp32
unet,,4.0,96,fp32
"""


def test_an_efficiency_page_gives_the_time_where_no_cell_is_stored(task, tmp_path):
    """200 images at 4 a second; rows of other methods, forms, precisions and sizes say nothing."""
    (tmp_path / "efficiency-cpu.csv").write_text(PAGE)
    found = measured(task, 200, tmp_path, "cpu")
    assert (found.seconds, found.basis) == (50, "bench measure, no validation")
    assert measured(task, 200, tmp_path, "cuda:0") is None
    (tmp_path / "efficiency-cpu.csv").write_text(PAGE.replace("unet,,4.0", "unet,,"))
    assert measured(task, 200, tmp_path, "cpu") is None
