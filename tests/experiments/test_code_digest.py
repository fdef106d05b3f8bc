"""What changes the digest of a cell's code, and what does not: tried on a copy of the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench
import methods

DIGESTS = """
import json, sys
from bench.experiments.code_digest import scoring_code, tokenizer_code, training_code
from bench.registry import get_tokenizer, plain_method_names, source_file, tokenizer_names
found = {name: training_code(source_file(name)) for name in plain_method_names()}
found |= {f"tokenizer {n}": tokenizer_code(get_tokenizer(n).source_file) for n in tokenizer_names()}
found["scoring"] = scoring_code()
assert "torch" not in sys.modules
print(json.dumps(found))
"""


class Copy:
    """A copy of the package's code in a folder, to be edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in (bench, methods):
            source = Path(package.__file__).parent
            ignored = shutil.ignore_patterns("__pycache__", "embedded")
            shutil.copytree(source, folder / source.name, ignore=ignored)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}; correct the test"
        path.write_text(text.replace(old, new))

    def digests(self) -> dict[str, str]:
        env = os.environ | {"PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS], cwd=self.folder, env=env, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> dict[str, str]:
    return Copy(tmp_path_factory.mktemp("before")).digests()


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path)


def changed(copy: Copy, before: dict[str, str]) -> set[str]:
    """Names of the digests that an edit changed."""
    after = copy.digests()
    assert after.keys() == before.keys()
    return {name for name in before if after[name] != before[name]}


METHODS = {
    "acc_unet", "dsu", "ege_unet", "gms", "gss", "medsegdiff_v2", "mixstyle", "multiresunet",
    "nnunet", "sdseg", "sme_swin_unet", "swin_unet", "uctransnet", "unet",
}  # fmt: skip


def test_a_reworded_message_docstring_or_comment_changes_nothing(copy, before):
    copy.edit("bench/training/trainer.py", "is not finite in epoch", "is NaN or infinite in epoch")
    copy.edit("bench/training/schedule.py", '"""The learning rate of every', '"""The rate of each')
    copy.edit("methods/unet.py", "# one unit, where later levels have two", "# a single unit")
    assert changed(copy, before) == set()


def test_a_moved_and_renamed_module_changes_nothing(copy, before):
    (copy.folder / "bench/training/augment.py").rename(
        copy.folder / "bench/training/augmentation.py"
    )
    for file in copy.folder.rglob("*.py"):
        text = file.read_text()
        file.write_text(text.replace("bench.training.augment ", "bench.training.augmentation "))
    assert changed(copy, before) == set()


def test_a_new_score_column_changes_the_scoring_digest_alone(copy, before):
    copy.edit("bench/metrics/case.py", '"fn": in_target - tp,', '"fn": in_target - tp, "new": 1,')
    assert changed(copy, before) == {"scoring"}


def test_tables_figures_commands_and_the_runner_change_nothing(copy, before):
    for file in (
        "bench/reporting/tables/build.py", "bench/reporting/plots/build.py", "bench/cli/run.py",
        "bench/experiments/runner.py", "bench/data/prepare.py", "bench/core/files.py",
        "bench/conformance/describe.py",
    ):  # fmt: skip
        path = copy.folder / file
        path.write_text(path.read_text() + "\n\ndef one_more_function():\n    return 1\n")
    assert changed(copy, before) == set()


def test_the_trainer_counts_for_every_method(copy, before):
    copy.edit("bench/training/trainer.py", "optimizer.step()", "optimizer.step() or None")
    assert changed(copy, before) == METHODS


def test_what_every_method_inherits_counts_for_every_method(copy, before):
    copy.edit("bench/method.py", "float().div_(255)", "div(255)")
    assert changed(copy, before) == METHODS


def test_dice_counts_for_the_scores_and_for_the_epoch_that_validation_picks(copy, before):
    copy.edit("bench/metrics/overlap.py", "2 * tp, pred", "tp + tp, pred")
    assert changed(copy, before) == METHODS | {"scoring"}


def test_the_dvaes_network_counts_for_its_own_tokenizer_alone(copy, before):
    copy.edit("bench/tokenizers/dalle_network.py", "import torch\n", "import torch\n\nONE = 1\n")
    assert changed(copy, before) == {"tokenizer dalle"}


def test_a_methods_own_file_counts_for_it_alone(copy, before):
    copy.edit("methods/ege_unet.py", "def build(", "def one_more():\n    return 1\n\n\ndef build(")
    assert changed(copy, before) == {"ege_unet"}


def test_a_shared_layer_counts_for_the_methods_that_import_it(copy, before):
    copy.edit("methods/layers/deeplab.py", "def build_host(", "ONE = 1\n\n\ndef build_host(")
    assert changed(copy, before) == {"mixstyle", "dsu"}


def test_recipes_defaults_and_descriptions_count_elsewhere(copy, before):
    """They are in a cell's identity as resolved values."""
    copy.edit("methods/gms.py", "lr=2e-3", "lr=3e-3")
    copy.edit("methods/gms.py", 'title="GMS"', 'title="The GMS"')
    copy.edit("methods/unet.py", "Field(64, ge=2", "Field(32, ge=2")
    assert changed(copy, before) == set()


def test_another_function_under_the_same_name_counts(copy, before):
    copy.edit(
        "methods/gms.py",
        "from bench.training.losses import soft_dice_loss",
        "from bench.training.losses import bce_dice as soft_dice_loss",
    )
    assert changed(copy, before) == {"gms"}
