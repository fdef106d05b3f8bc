"""Running a matrix as a user does: in a process, on phantoms, with a method of two convolutions."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.experiments.cells import load_cells

SMOKE = ("--profile", "smoke", "--device", "cpu", "--jobs", 1)


@pytest.fixture
def matrix(tmp_path):
    """A matrix of one method on two ultrasound datasets, across domains."""
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "Mine"\n[[cells]]\nmethods = ["tiny"]\ntrain = ["busi", "glas"]\n'
        '[[tables]]\nname = "mine"\ncaption = "Mine"\nkind = "methods"\n'
        'datasets = ["busi", "glas"]\n'
    )
    return file


def cells(tmp_path):
    return load_cells(tmp_path / "results" / "cells")


def test_a_run_stores_cells_tables_and_figures_and_the_next_run_trains_nothing(
    bench, matrix, tiny, tmp_path
):
    words = ("run", "-m", matrix, "--plugin", tiny, *SMOKE)
    first = bench(*words)
    assert first.returncode == 0, first.stderr
    assert "0 of 2 cells are done, 2 to train" in first.stdout
    assert "phantoms" in first.stdout and "Tiny" in first.stdout
    done = cells(tmp_path)
    assert [record.status for record in done] == ["done", "done"]
    record = done[0]
    assert record.trainable_params == record.total_params == 3 * 4 * 9 + 4 + 4 * 9 + 1
    scores = record.scores(record.key.train, "test")
    assert set(scores["grid"]) == {"network", "native"} and len(scores) == 2 * 4
    assert len(record.history()) == 1
    facts = record.provenance
    assert facts["packages"]["torch"] and facts["cards"] and facts["train_seconds"] > 0
    assert facts["split"] == {"scheme": "published", "seed": 0, "train": 8, "val": 2, "test": 4}
    assert (facts["images_seen"], facts["initial_weights"], facts["tf32"]) == (8, "random", [])
    assert not (record.folder / "resume").exists()
    endings = {file.suffix for file in (tmp_path / "results").rglob("*") if file.is_file()}
    assert {".md", ".tex", ".csv", ".png", ".parquet", ".safetensors"} <= endings

    shown = json.loads(bench("show", record.id[:12], "--json").stdout)
    network = scores[scores["grid"] == "network"]
    means = shown["scores"][f"{record.key.train}-test"]["network"]
    assert means["dsc"] == pytest.approx(network["dsc"].mean(), abs=1e-6)

    picture = tmp_path / "mine.png"
    Image.fromarray(np.full((50, 70, 3), 90, dtype=np.uint8)).save(picture)
    segment = ("predict", record.id, picture, "--out", tmp_path / "masks", "--plugin", tiny)
    assert bench(*segment).returncode == 0
    mask = np.asarray(Image.open(tmp_path / "masks" / "mine.png"))
    assert mask.shape == (50, 70) and set(np.unique(mask)) <= {0, 255}
    (tmp_path / "torn.png").write_bytes(picture.read_bytes()[:60])
    torn = bench("predict", record.id, tmp_path / "torn.png", "--out", tmp_path / "m2")
    assert torn.returncode == 2 and "torn.png cannot be decoded" in torn.stderr

    stamp = (record.folder / "cell.json").stat().st_mtime_ns
    again = bench(*words)
    assert again.returncode == 0 and "2 of 2 cells are done." in again.stdout
    assert (record.folder / "cell.json").stat().st_mtime_ns == stamp


def test_a_new_test_set_scores_the_trained_cell_without_training_it(bench, tmp_path, tiny):
    file = tmp_path / "cross.toml"
    text = 'title = "X"\n[[cells]]\nmethods = ["tiny"]\ntrain = ["busi"]\ntest = {}\n'
    file.write_text(text.format('["same"]'))
    assert bench("run", "-m", file, "--plugin", tiny, *SMOKE).returncode == 0
    (before,) = cells(tmp_path)
    file.write_text(text.format('["same", "bus"]'))
    second = bench("run", "-m", file, "--plugin", tiny, *SMOKE)
    assert second.returncode == 0, second.stderr
    assert "0 to train" not in second.stdout and "1 to score" in second.stdout
    (after,) = cells(tmp_path)
    assert after.has_scores("bus", "test")
    assert after.provenance == before.provenance


def test_damaged_files_are_set_aside_and_made_anew(bench, matrix, tiny, tmp_path):
    words = ("run", "-m", matrix, "--plugin", tiny, "--datasets", "busi", *SMOKE)
    assert bench(*words).returncode == 0
    (record,) = cells(tmp_path)
    scores, weights = record.scores("busi", "test"), record.folder / "weights.safetensors"
    predictions = record.folder / "predictions" / "busi-test.npz"
    trained = weights.read_bytes()

    record.scores_file("busi", "test").write_bytes(b"torn")
    assert "1 to score" in bench(*words).stdout
    (again,) = cells(tmp_path)
    pd.testing.assert_frame_equal(again.scores("busi", "test"), scores)
    assert (record.folder / "scores" / "busi-test.parquet.damaged").read_bytes() == b"torn"

    record.scores_file("busi", "test").write_bytes(b"torn")
    predictions.write_bytes(b"torn")
    assert bench(*words).returncode == 0
    (again,) = cells(tmp_path)
    pd.testing.assert_frame_equal(again.scores("busi", "test"), scores)
    assert predictions.with_name("busi-test.npz.damaged").is_file()
    assert weights.read_bytes() == trained

    record.scores_file("busi", "test").unlink()
    predictions.unlink()
    weights.write_bytes(b"torn")
    failed = bench(*words)
    assert failed.returncode == 1 and "Run again: the cell trains anew." in failed.stdout
    assert bench(*words).returncode == 0
    assert weights.read_bytes() == trained
    pd.testing.assert_frame_equal(cells(tmp_path)[0].scores("busi", "test"), scores)


def test_a_network_of_another_size_is_scored_at_the_common_one(bench, matrix, tiny, tmp_path):
    text = tiny.read_text().replace("import MethodSpec,", "import MethodSpec, SizeRule,")
    tiny.write_text(text.replace('title="Tiny",', 'title="Tiny", size=SizeRule(multiple=96),'))
    result = bench("run", "-m", matrix, "--plugin", tiny, "--datasets", "busi", *SMOKE)
    assert result.returncode == 0, result.stderr
    (record,) = cells(tmp_path)
    assert (record.network_size, record.key.image_size) == (96, 64)
    scores = record.scores("busi", "test")
    network = scores[scores["grid"] == "network"]
    assert set(zip(network["height"], network["width"], strict=True)) == {(64, 64)}


def test_weights_that_are_not_there_stop_the_run_before_any_cell(bench, tmp_path):
    words = ("--datasets", "busi", "--set", "pretrained=none.safetensors", *SMOKE)
    result = bench("run", "-m", "in-domain", "--methods", "swin_unet", *words)
    assert result.returncode == 2
    assert "Nothing was trained. swin_unet" in result.stderr
    assert "No file none.safetensors with pretrained Swin weights" in result.stderr
    assert not (tmp_path / "results" / "cells").exists()


def test_a_cell_that_another_process_trains_is_waited_for(bench, matrix, tiny, tmp_path, cache):
    words = ("run", "-m", matrix, "--plugin", tiny, "--datasets", "busi", *SMOKE)
    assert bench(*words).returncode == 0
    (record,) = cells(tmp_path)
    file = record.folder / "cell.json"
    finished = file.read_text()
    file.unlink()
    stamp = (record.folder / "weights.safetensors").stat().st_mtime_ns

    def finish_elsewhere(lock):
        """What the other process does, once this one waits for it."""
        log = record.folder / "log.txt"
        deadline = time.monotonic() + 120
        while "It is waited for" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        file.write_text(finished)
        lock.unlink()

    lock = record.folder / ".lock"
    lock.write_text('{"pid": 4711, "host": "elsewhere", "since": "noon"}')
    other = threading.Thread(target=finish_elsewhere, args=(lock,))
    other.start()
    result = bench(*words)
    other.join()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "is in use by process 4711 on elsewhere since noon. It is waited for" in result.stdout
    assert (record.folder / "weights.safetensors").stat().st_mtime_ns == stamp

    # The other one finished between this run's plan and its turn: nothing is trained again.
    request = record.provenance["request"]
    job = {
        "op": "train", "id": record.id, "folder": str(record.folder), "request": request,
        "request_digest": record.request, "inputs": record.inputs, "train_cases": 8,
        "plugins": [str(tiny)],
    }  # fmt: skip
    worker = subprocess.run(
        [sys.executable, "-m", "bench.experiments.executors.worker"], input=json.dumps(job) + "\n", text=True,
        capture_output=True, check=True, env=os.environ | {"GMS_BENCH_CACHE": str(cache)},
    )  # fmt: skip
    assert json.loads(worker.stdout.splitlines()[-1])["kind"] == "finished"
    assert (record.folder / "weights.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.heavy
def test_four_runners_on_one_folder_all_end_well(matrix, tiny, tmp_path, cache):
    words = [sys.executable, "-m", "bench.cli", "run", "-m", matrix, "--plugin", tiny, *SMOKE]
    env = os.environ | {"GMS_BENCH_CACHE": str(cache)}
    command, out = [str(word) for word in (*words, "--epochs", 40)], subprocess.PIPE
    runners = [
        subprocess.Popen(
            command, cwd=tmp_path, env=env, text=True, stdout=out, stderr=subprocess.STDOUT
        )
        for _ in range(4)
    ]
    said = [runner.communicate(timeout=300)[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0, 0, 0], said
    assert [record.status for record in cells(tmp_path)] == ["done", "done"]
    trained = [text for text in said if "epoch 1 of 40" in text]
    assert 1 <= len(trained) <= 2  # each cell once
    assert len(list((tmp_path / "results" / "logs").iterdir())) == 4


FAULTS = {
    "raise": "RuntimeError: a fault on request",
    "nan": "loss is not finite in epoch 1",
    "exit": "exited with status 7",
    "kill": "ended by SIGKILL",
}


def test_failing_cells_are_recorded_and_the_others_go_on(bench, tmp_path, tiny):
    file = tmp_path / "m.toml"
    file.write_text(
        'title = "F"\n[[cells]]\nmethods = ["tiny"]\ntrain = ["busi"]\n'
        f"settings = {{ fault = {json.dumps([*FAULTS, 'none'])} }}\n"
        '[[tables]]\nname = "t"\ncaption = "T"\nkind = "methods"\ndatasets = ["busi"]\n'
    )
    result = bench("run", "-m", file, "--plugin", tiny, *SMOKE)
    assert result.returncode == 1
    found = {record.key.settings["fault"]: record for record in cells(tmp_path)}
    assert found.pop("none").status == "done"
    assert found.keys() == FAULTS.keys()
    for fault, record in found.items():
        assert record.status == "failed"
        assert FAULTS[fault] in record.error and FAULTS[fault] in result.stdout
        assert not (record.folder / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (("--set", "widht=3"), "widht.*Known settings and defaults: width=4"),
        (
            ("--set", "recipe.batch_size=64"),
            "busi.*batches of 64, but this split has 8 training cases",
        ),
        (("--methods", "tinny"), "Did you mean 'tiny'"),
        (("--datasets", "stu"), "No training dataset of matrix mine named 'stu'"),
        (("--datasets", "busi,glsa"), "Did you mean 'glas'"),
        (("--methods", ""), "--methods '' names nothing"),
        (("--seeds", ""), "names no seed"),
        (("--protocol", "cleen"), "Did you mean 'clean'"),
    ],
)
def test_wrong_words_stop_before_anything_trains(bench, matrix, tiny, tmp_path, words, message):
    result = bench("run", "-m", matrix, "--plugin", tiny, *SMOKE, *words)
    assert result.returncode == 2, result.stdout
    assert re.search(message, result.stderr), result.stderr
    assert not (tmp_path / "results" / "cells").exists()


def test_explicit_defaults_are_the_same_cell(bench, matrix, tiny, tmp_path):
    words = ("run", "-m", matrix, "--plugin", tiny, "--datasets", "busi", *SMOKE)
    assert bench(*words).returncode == 0
    again = bench(*words, "--set", "width=4")
    assert "1 of 1 cells are done." in again.stdout
    other = bench(*words, "--set", "width=5")
    assert "1 to train" in other.stdout and len(cells(tmp_path)) == 2


def test_missing_data_is_a_visible_hole_never_a_phantom(bench, matrix, tiny, tmp_path):
    (tmp_path / "data").mkdir()
    words = ("run", "-m", matrix, "--plugin", tiny, "--data", tmp_path / "data")
    result = bench(*words, "--profile", "paper", "--device", "cpu")
    assert result.returncode == 1
    assert "2 unavailable" in result.stdout
    assert "bench data prepare busi" in result.stdout
    assert not (tmp_path / "results" / "cells").exists()


def test_a_budget_sets_the_epochs_and_is_met(bench, matrix, tiny, tmp_path):
    words = ("run", "-m", matrix, "--plugin", tiny, "--datasets", "busi", *SMOKE)
    result = bench(*words, "--budget", 33)
    assert result.returncode == 0, result.stderr
    (record,) = cells(tmp_path)
    assert record.key.epochs == len(record.history()) == 4  # 8 images an epoch, 32 nearest to 33
    assert record.provenance["images_seen"] == 32
    # The shared recipe's 1000 epochs of 8 images; batches of 4, as the profile says.
    own = {"epochs": 1000, "steps_per_epoch": None, "images": 8000}
    assert record.provenance["own_length"] == own
    assert record.provenance["normalise"] == "none"
    assert "Budget: 33 training images" in result.stdout
    assert "1 of 1 cells are done" in bench(*words, "--budget", 33).stdout
    assert "1 to train" in bench(*words, "--dry-run").stdout  # one epoch: another recipe


def test_a_run_that_stops_early_counts_the_images_of_the_epochs_that_ran(
    bench, matrix, tiny, tmp_path
):
    words = ("run", "-m", matrix, "--plugin", tiny, "--datasets", "busi", *SMOKE, "--epochs", 6)
    result = bench(*words, "--set", "recipe.patience=2", "--set", "recipe.lr=1e-12")
    assert result.returncode == 0, result.stderr
    (record,) = cells(tmp_path)
    assert (len(record.history()), record.provenance["images_seen"]) == (3, 24)


def test_a_length_that_the_user_sets_field_by_field_is_not_said_to_keep_a_shape(
    bench, matrix, tiny, tmp_path
):
    words = ("run", "-m", matrix, "--plugin", tiny, "--datasets", "busi", *SMOKE)
    assert bench(*words, "--set", "recipe.epochs=2").returncode == 0
    (record,) = cells(tmp_path)
    assert (record.key.epochs, record.provenance["own_length"]) == (2, None)


def test_a_killed_run_resumes(bench, tiny, tmp_path, cache):
    file = tmp_path / "m.toml"
    file.write_text('title = "R"\n[[cells]]\nmethods = ["tiny"]\ntrain = ["busi"]\n')
    words = ["run", "-m", str(file), "--plugin", str(tiny), *map(str, SMOKE), "--epochs", "60"]
    env = os.environ | {"GMS_BENCH_CACHE": str(cache), "GMS_BENCH_CHECKPOINT_SECONDS": "0"}
    process = subprocess.Popen([sys.executable, "-m", "bench.cli", *words], cwd=tmp_path, env=env)
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "results").glob("cells/*/resume/state.safetensors")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
    assert not list((tmp_path / "results").glob("cells/*/cell.json"))
    assert bench(*words).returncode == 0
    (resumed,) = cells(tmp_path)
    columns = ["epoch", "lr", "loss", "val_dsc"]
    after_resume, scores = resumed.history()[columns], resumed.scores("busi", "test")
    shutil.rmtree(tmp_path / "results")
    assert bench(*words).returncode == 0
    (whole,) = cells(tmp_path)
    assert whole.id == resumed.id
    pd.testing.assert_frame_equal(whole.history()[columns], after_resume)
    pd.testing.assert_frame_equal(whole.scores("busi", "test"), scores)


def test_startup_and_a_run_with_nothing_to_do_import_no_torch(bench, matrix, tiny, tmp_path, cache):
    words = [
        "run",
        "-m",
        str(matrix),
        "--plugin",
        str(tiny),
        "--datasets",
        "busi",
        *map(str, SMOKE),
    ]
    assert bench(*words).returncode == 0
    code = (
        "import sys, json\nfrom bench.cli.app import app\n"
        "app({}, standalone_mode=False)\n"
        "print(json.dumps([m for m in ('torch', 'diffusers', 'timm') if m in sys.modules]))"
    )
    env = os.environ | {"GMS_BENCH_CACHE": str(cache)}
    plan = ["run", "-m", "in-domain", "--methods", "unet", "--dry-run"]
    report = ["report", "-m", str(matrix)]
    for command in (["list", "methods"], ["list", "tokenizers"], plan, report):
        out = subprocess.run(
            [sys.executable, "-c", code.format(command)],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(out.stdout.splitlines()[-1]) == [], command
    # The plugin file itself may import torch, so nothing-to-do is tried with the workers gone.
    again = bench(*words)
    assert "1 of 1 cells are done." in again.stdout
