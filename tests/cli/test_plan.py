"""What a run would do, said without a trace in the results; runs without a matrix file."""

import io
import re

import pytest
from data_doubles import make_busi
from requests_of_tests import request
from rich.console import Console

from bench.cli.progress import block
from bench.experiments.cells import load_cells
from bench.experiments.course import Course
from bench.experiments.matrices import own_matrix
from bench.experiments.messages import Epoch, Started, Step
from bench.experiments.runner import Task

SMOKE = ("--profile", "smoke", "--device", "cpu", "--jobs", 1)


def test_a_dry_run_resolves_estimates_and_leaves_no_trace(bench, tiny, tmp_path):
    words = ("run", "--train", "busi", "--test", "same,bus", "--methods", "tiny", "--plugin", tiny)
    result = bench(*words, *SMOKE, "--epochs", 3, "--estimate")
    assert result.returncode == 0, result.stderr
    said = result.stdout
    assert "Trained on busi, scored on same, bus" in said
    assert "0 of 1 cells are done, 1 to train." in said
    assert (
        "train       tiny on busi, seed 0: 64 px; 3 epochs in batches of 4; recipe shared, as in "
        "profile smoke; initial weights random; tiny-busi-"
    ) in said
    assert "Disk: about 0.0 MB to store, up to 0.0 MB more while cells train;" in said
    timed = r"time        tiny on busi, seed 0: \d+ s \(a few timed steps, no validation\)"
    assert re.search(timed, said)
    assert "of training in 1 of 1 cells" in said
    assert not (tmp_path / "results").exists()


def test_a_run_without_a_matrix_file_has_the_tables_of_its_pairs():
    matrix = own_matrix(("unet", "gms"), ("busi",), ("same", "stu"))
    assert [(t.kind, t.datasets, t.pairs) for t in matrix.tables] == [
        ("methods", ("busi",), ()),
        ("cross-domain", (), (("busi", "stu"),)),
    ]
    (across,) = own_matrix(("unet",), ("busi",), ("stu",)).tables
    assert across.pairs == (("busi", "stu"),)


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "What shall run? Give --matrix NAME"),
        (("--train", "busi"), "--train needs methods"),
        (("--train", ""), "--train '' names nothing"),
        (("-m", "paper", "--train", "busi"), "leave --train and --test out"),
        (("--train", "busi", "--methods", "unet", "--datasets", "busi"), "Give one of them"),
        (("--train", "bsui", "--methods", "unet"), "Did you mean 'busi'"),
        (
            ("-m", "paper", "--protocol", "paper"),
            "for a run on phantoms ask for it: --profile demo",
        ),
        (("-m", "paper", "--split", "random"), "is not one of"),
        (("-m", "paper", "--quiet", "--verbose"), "--quiet and --verbose contradict"),
        (("-m", "paper", "--methods", " , "), "names nothing"),
    ],
)
def test_words_that_do_not_say_what_to_run_are_refused(bench, tmp_path, words, message):
    result = bench("run", *words)
    assert result.returncode == 2, result.stdout
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "results").exists()


def test_another_split_is_another_protocol(bench, tiny, tmp_path):
    words = ("run", "--train", "busi", "--methods", "tiny", "--plugin", tiny, *SMOKE)
    assert bench(*words, "--split", "random80").returncode == 0
    (cell,) = load_cells(tmp_path / "results" / "cells")
    assert cell.key.protocol == "clean-random80"
    assert cell.provenance["split"]["scheme"] == "random80"
    assert "0 of 1 cells are done" in bench(*words, "--dry-run").stdout


def test_a_test_set_that_is_not_there_costs_its_own_scores_alone(bench, tiny, tmp_path):
    source = make_busi(tmp_path, benign=10, malignant=10)
    bench("data", "prepare", "busi", "--from", source, "--data", tmp_path / "data")
    (tmp_path / "own.toml").write_text(
        '[own]\ntitle = "own"\nphantoms = false\nimage_size = 32\nnative_sizes = false\nepochs = 1\n'
        'precision = "fp32"\nchannels_last = false\nvalidate_every = 1\ntokenizers = {}\n'
        "[own.recipe]\nbatch_size = 4\n"
    )
    words = ("run", "--train", "busi", "--test", "same,bus", "--methods", "tiny", "--plugin", tiny)
    own = ("--data", tmp_path / "data", "--profile", "own.toml:own", "--device", "cpu")
    result = bench(*words, *own)
    assert "bench data prepare bus" in result.stdout
    assert result.returncode == 1, result.stderr  # the hole is visible
    (cell,) = load_cells(tmp_path / "results" / "cells")
    assert list(cell.tests) == ["busi-test"]


def test_progress_in_a_pipe_is_a_line_for_epochs_or_none(bench, tiny, tmp_path):
    words = ("run", "--train", "busi", "--methods", "tiny", "--plugin", tiny, *SMOKE, "--epochs", 4)
    loud = bench(*words, "--verbose").stdout
    assert [f"epoch {number} of 4, loss" in loud for number in (1, 2, 3, 4)] == [True] * 4
    assert "cell 1 of 1 tiny on busi, seed 0: epoch 2 of 4, loss " in loud
    (cell,) = load_cells(tmp_path / "results" / "cells")
    assert "epoch 2 of 4, loss" in (cell.folder / "log.txt").read_text()
    quiet = bench(*words, "--quiet", "--results", "other")
    assert quiet.returncode == 0 and "epoch 1 of 4" not in quiet.stdout
    assert len(load_cells(tmp_path / "other" / "cells")) == 1


class Known:
    """Nothing is known before an epoch is done; every cell has a hundred images."""

    def images(self, task):
        return 100

    def training(self, task):
        return None


def test_the_live_block_fits_80_columns(tmp_path):
    long = request(
        method="smp:unetplusplus/tu-convnext_tiny", train="kvasir-instrument",
        settings={"weights": "imagenet", "options": {"encoder_depth": 4}},
    )  # fmt: skip
    tasks = [Task(long, "train", id="a"), Task(request(), "train", id="b")]
    course = Course(tasks, tmp_path, 2, Known())
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(block(course))
    assert console.file.getvalue() == "checking the settings of 2 cells\n"
    for task in tasks:
        course.see(task, Started(device="cuda:0"))
        row = {"loss": 0.123456, "val_dsc": 0.8, "test_dsc": 0.9}
        course.see(task, Epoch(epoch=999, epochs=1000, row=row))
        course.see(task, Step(epoch=999, step=4, steps=250))
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(block(course))
    said = console.file.getvalue()
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[:6] for line in lines[:3]] == ["0 of 2", "━━━━━━", "cell 1"]
    flat = " ".join(said.split())
    assert "options={'encoder_depth': 4}, weights=imagenet] on kvasir-instrument, seed 0" in flat
    assert flat.count("epoch 999 of 1000, loss 0.1235, val DSC 0.800, test DSC 0.900") == 2
    assert flat.count("epoch 1000: step 5 of 250") == 2
    assert "0 of 2 cells done" in flat and "…" not in said
