"""Trackers get every cell's configuration, epochs, scores and figures; read back with their own
readers."""

import io
import logging

import numpy as np
import pytest
from PIL import Image
from requests_of_tests import request

from bench.core.errors import BenchError
from bench.experiments.messages import Epoch, Failed, Finished, Started
from bench.experiments.runner import Task
from bench.experiments.trackers import Tracking, make_tracker


def follow(tracking: Tracking, tmp_path) -> None:
    """A run of one cell with two epochs, one of a cell that fails, and a figure."""
    task = Task(request(), "train", id="unet-busi-0")
    tracking.see(task, Started(device="cpu"))
    for number, loss in ((1, 0.5), (2, 0.25)):
        row = {"loss": loss, "val_dsc": None if number == 1 else 0.75}
        tracking.see(task, Epoch(epoch=number, epochs=2, row=row))
    tracking.see(task, Finished(dsc={"busi-test": 0.625}))
    other = Task(request(seed=1), "train", id="unet-busi-1")
    tracking.see(other, Started(device="cpu"))
    tracking.see(other, Failed(message="no memory"))
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "curves.png")
    tracking.figures([tmp_path / "curves.png", tmp_path / "table.md"])
    tracking.close()


def test_tensorboards_event_files_hold_epochs_scores_configuration_and_figures(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracking = Tracking([make_tracker("tensorboard", tmp_path)])
    follow(tracking, tmp_path)
    assert tracking.trackers  # none failed
    folder = tmp_path / "tracking" / "tensorboard"
    events = EventAccumulator(str(folder / "unet-busi-0"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("val_dsc")] == [(2, 0.75)]
    assert [e.value for e in events.Scalars("final/busi-test_DSC")] == [0.625]
    (text,) = events.Tensors("configuration/text_summary")
    assert b"unet on busi, seed 0" in text.tensor_proto.string_val[0]
    figures = EventAccumulator(str(folder / "figures"))
    figures.Reload()
    (picture,) = figures.Images("curves")
    assert (picture.height, picture.width) == (4, 6)


def test_mlflows_local_store_holds_a_run_for_each_cell(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = make_tracker("mlflow", tmp_path)
    tracking = Tracking([tracker])
    follow(tracking, tmp_path)
    assert tracking.trackers
    runs = {run.info.run_name: run for run in tracker.client.search_runs([tracker.experiment])}
    done, failed = runs["unet on busi, seed 0"], runs["unet on busi, seed 1"]
    assert (done.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert done.data.metrics == {"loss": 0.25, "val_dsc": 0.75, "final busi-test DSC": 0.625}
    history = tracker.client.get_metric_history(done.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]
    assert done.data.params["device"] == "cpu" and done.data.params["request.train"] == "busi"
    artifacts = tracker.client.list_artifacts(runs["figures"].info.run_id)
    assert [artifact.path for artifact in artifacts] == ["curves.png"]
    assert (tmp_path / "tracking" / "mlflow" / "mlflow.db").is_file()


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """The package, as a fresh process finds it: no account, no settings."""
    package = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    package.teardown()
    yield package
    package.teardown()


def test_wandb_keeps_a_run_for_each_cell_offline(wandb, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking = Tracking([make_tracker("wandb", tmp_path)])
    follow(tracking, tmp_path)
    assert tracking.trackers
    runs = sorted((tmp_path / "tracking" / "wandb" / "wandb").glob("offline-run-*"))
    stored = [next(run.glob("*.wandb")).read_bytes() for run in runs]
    done, failed, figures = (
        next(content for content in stored if name in content)
        for name in (b"unet on busi, seed 0", b"unet on busi, seed 1", b"curves_")
    )
    assert len(stored) == 3 and b"busi-test DSC" in done and b"busi-test DSC" not in failed
    for words in (b"0.5", b"0.25", b"0.75", b"0.625", b"val_dsc", b'"cpu"'):
        assert words in done
    assert figures not in (done, failed)
    assert len(list(tmp_path.rglob("files/media/images/curves_*.png"))) == 1
    said = capfd.readouterr()
    assert said.out == "" and "wandb:" not in said.err


def test_wandb_without_an_account_is_refused_before_the_run(wandb, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(BenchError, match="No API key configured.*Or set WANDB_MODE=offline"):
        make_tracker("wandb", tmp_path)


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(tmp_path, caplog):
    class Away:
        def begin(self, *words):
            raise ConnectionError("no server")

    tracking = Tracking([Away()])
    with caplog.at_level(logging.WARNING, "bench"):
        follow(tracking, tmp_path)
    assert caplog.messages == ["Away is left out from now on: no server"]


def test_a_tracker_that_is_not_there_is_refused_with_what_to_install(tmp_path, monkeypatch):
    with pytest.raises(
        BenchError, match="No tracker named 'tensorbord'. Did you mean 'tensorboard'"
    ):
        make_tracker("tensorbord", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"pip install 'gms-bench\[mlflow\]'"):
        make_tracker("mlflow", tmp_path)
