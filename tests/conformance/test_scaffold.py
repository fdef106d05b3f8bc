"""`bench new method` writes a package that keeps the contract before anything is changed."""

import subprocess
import sys
import tomllib

import pytest
from data_doubles import picture, square

from bench.conformance.scaffold import new_file, new_method
from bench.core.errors import BenchError
from bench.data.cards import read_card
from bench.data.prepare import prepare
from bench.data.prepared import read_index
from bench.experiments.matrices import Overrides, expand, get_matrix
from bench.protocols import get_profile, get_protocol
from bench.registry import get_tokenizer, use_plugin_files
from bench.tokenizers.evaluation import evaluate, figure, mask_set


def test_the_skeleton_is_a_package_with_entry_point_and_test(tmp_path):
    files = new_method("my_method", tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "my_method/pyproject.toml",
        "my_method/README.md",
        "my_method/bench_my_method.py",
        "my_method/tests/test_bench_my_method.py",
    ]
    project = tomllib.loads(files[0].read_text())["project"]
    assert project["entry-points"]["bench.methods"] == {"my_method": "bench_my_method:SPEC"}


def test_its_own_test_passes_as_written(tmp_path):
    folder = new_method("my_method", tmp_path)[0].parent
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", ["MyMethod", "my-method", "2d", "_x", "a__b", "class", ""])
def test_names_that_are_refused(name, tmp_path):
    with pytest.raises(BenchError, match="cannot name a method.*my_method"):
        new_method(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_registered_name_is_refused(tmp_path):
    with pytest.raises(BenchError, match="'unet' is registered already"):
        new_method("unet", tmp_path)


def test_nothing_is_overwritten(tmp_path):
    new_method("my_method", tmp_path)
    with pytest.raises(BenchError, match="exists already. Choose another name"):
        new_method("my_method", tmp_path)


def test_a_new_matrix_expands_and_a_new_card_prepares_as_written(tmp_path):
    matrix = get_matrix(str(new_file("matrix", "my-matrix", tmp_path)))
    requests = expand(matrix, Overrides(), get_protocol("clean"), get_profile("smoke"))
    assert [request.method for request in requests] == ["unet", "ege_unet"]

    for kind, make in (("images", picture), ("masks", lambda n: square(2, 2, 3))):
        (tmp_path / "source" / kind).mkdir(parents=True)
        for number in range(1, 4):
            make(number).save(tmp_path / "source" / kind / f"a{number}.png")
    card = read_card(new_file("dataset", "my-data", tmp_path))
    prepare(card, tmp_path / "source", tmp_path / "data")
    assert read_index(tmp_path / "data" / "my-data").case_ids == ("a1", "a2", "a3")


def test_new_files_overwrite_nothing_and_want_a_plain_name(tmp_path):
    new_file("matrix", "mine", tmp_path)
    with pytest.raises(BenchError, match="exists already"):
        new_file("matrix", "mine", tmp_path)
    with pytest.raises(BenchError, match="cannot name a dataset"):
        new_file("dataset", "../mine", tmp_path)


def test_a_new_tokenizer_gives_pictures_back_as_written(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr("bench.registry._plugin_files", [])
    file = new_file("tokenizer", "my-pixels", tmp_path)
    assert file.name == "bench_my_pixels.py"
    use_plugin_files([file])
    tokenizer = get_tokenizer("my-pixels").load()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(tokenizer.decode(tokenizer.encode(images)), images, atol=1e-6)
    # It has no parameters: nothing says on which device it is.
    (tmp_path / "masks").mkdir()
    square(1, 1, 3).save(tmp_path / "masks" / "a.png")
    sets = [mask_set(tmp_path / "masks", 32, 127)]
    figure(tokenizer, sets, evaluate(tokenizer, sets, "cpu"), tmp_path / "worst.png")
    assert (tmp_path / "worst.png").is_file()
    with pytest.raises(BenchError, match="'tiny-kl' is registered already"):
        new_file("tokenizer", "tiny-kl", tmp_path)
