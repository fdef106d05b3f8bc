"""What the command line says to a mistake: one message, status 2, before any work."""

import sys

import pytest
from pydantic import ValidationError

from bench.cli import main
from bench.cli.options import choose_profile, devices, require_devices
from bench.core.errors import BenchError

RUN = ("run", "--matrix", "ablations")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """The words of a refusal; fails where the command ran, or wrote anything."""

    def say(*words: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert not (tmp_path / "results").exists()
        # Terminals fold long messages inside a frame.
        return " ".join(capsys.readouterr().err.replace("│", " ").split())

    return say


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--precision", "fp64", "'fp64' is not one of 'fp32', 'bf16'"),
        ("--tf32", "on", "'on' is not one of 'off', 'convolution', 'all'"),
        ("--recipe", "nativ", "'nativ' is not one of 'shared', 'native'"),
        ("--subset", "train", "'train' is not one of 'test', 'all'"),
        ("--grid", "web", "'web' is not one of 'network', 'native'"),
        ("--published", "aaai2024", "Did you mean 'aaai2025'?"),
        ("--device", "gpu", "--device 'gpu': write auto, cpu, mps, cuda or cuda:0,cuda:1."),
        ("--device", "", "--device '': write auto, cpu, mps, cuda or cuda:0,cuda:1."),
        ("--seeds", "a", "write numbers like 0,1,2 or 0-4"),
        ("--set", "width", "write NAME=VALUE"),
    ],
)
def test_a_value_outside_its_rule_is_refused_by_name(refused, option, value, rule):
    assert rule in refused(*RUN, option, value)


def test_a_length_and_a_budget_contradict(refused):
    words = ("--profile", "smoke", "--epochs", "5", "--budget", "100")
    assert "--epochs 5 and --budget 100 both set the length" in refused(*RUN, *words)


def test_a_gpu_that_is_not_there_is_refused_before_any_cell(refused):
    words = refused(*RUN, "--device", "cpu,cuda:99")
    assert "--device cuda:99: torch sees" in words


def test_commands_that_use_one_device_say_so(refused):
    words = refused("measure", "--methods", "ege_unet", "--device", "cpu,cpu")
    assert "--device 'cpu,cpu': this command uses one device." in words


def test_a_description_wants_a_name_of_one(refused):
    assert "Which dataset? Give a name: bench describe dataset NAME." in refused(
        "describe", "dataset"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("methods", "unet"),
        ("methods", "--set", "width=8"),
        ("method", "unet", "--published", "aaai2025"),
    ],
)
def test_an_option_that_a_description_would_not_read_is_refused(refused, words):
    assert "bench describe method" in refused("describe", *words)


def test_a_profile_of_ones_own_is_explained_field_by_field(refused, tmp_path):
    (tmp_path / "own.toml").write_text('[tiny]\ntitle = "tiny"\nphantoms = true\nimage_size = 8\n')
    words = refused(*RUN, "--profile", "own.toml:tiny")
    assert "own.toml, [tiny] is no profile: line 4, image_size=8: Input should be greater" in words
    assert "precision: Field required" in words


LISTING = """GPU 0: NVIDIA H200 (UUID: GPU-1)
  MIG 1g.18gb     Device  0: (UUID: MIG-1)
GPU 1: NVIDIA H200 (UUID: GPU-2)
"""


def test_auto_is_every_gpu_that_is_visible(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices("auto") == ("cuda:0", "cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6")
    assert devices("auto") == ("cuda:0", "cuda:1", "cuda:2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert devices("auto") == ("cpu",)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    tool.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not answer is no missing GPU
    assert devices("auto") == ("cuda",)
    tool.unlink()
    assert devices("auto") == ("cpu",)


def test_devices_are_listed_by_commas():
    assert devices("cuda:0, cuda:1") == ("cuda:0", "cuda:1")
    assert devices("mps") == ("mps",)


def test_an_apple_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(BenchError, match="torch sees no Apple GPU here. Use --device cpu"):
        require_devices(("mps",))
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    require_devices(("mps",))


def test_how_a_gpu_computes_is_part_of_the_profile():
    profile = choose_profile("smoke", None, tf32="off", deterministic=True, compile=None)
    assert (profile.tf32, profile.deterministic, profile.compile) == ("off", True, False)
    with pytest.raises(ValidationError, match="tf32"):
        choose_profile("smoke", None, tf32="half")
