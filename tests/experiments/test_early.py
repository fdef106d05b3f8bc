"""Mistakes are named before torch is imported, by the settings class that the method itself has."""

import subprocess
import sys

import pytest
from requests_of_tests import request

from bench.core.errors import BenchError
from bench.experiments.early import refuse_mistakes, settings_class
from bench.registry import get_method, plain_method_names, source_file


@pytest.mark.parametrize("name", [*plain_method_names(), "smp:unet/resnet34"])
def test_the_class_made_alone_is_the_methods_own(name):
    alone = settings_class(source_file(name))
    assert alone is not None
    assert alone.model_json_schema() == get_method(name).settings.model_json_schema()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"method": "ege_unet", "settings": {"widht": [8] * 6}}, "widht: Extra inputs"),
        (
            {"method": "gms", "settings": {"width": 20}},
            "width=20: Input should be a multiple of 16",
        ),
        ({"method": "dsu", "settings": {"stages": ["layer9"]}}, "stages.0='layer9'"),
        ({"method": "unet", "recipe": {"lr": -1}}, "lr=-1: Input should be greater than 0"),
        ({"method": "unet", "recipe": {"learning": 1}}, "learning=1: Extra inputs"),
        ({"method": "gms", "tokenizer": "sd-vea@x"}, "Did you mean 'sd-vae'"),
    ],
)
def test_a_mistake_is_named_with_its_rule(changes, message):
    with pytest.raises(BenchError, match=message):
        refuse_mistakes([request(**changes)])


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "gms", "settings": {"width": 32}, "tokenizer": "tiny-kl"},
        {"method": "gms", "tokenizer": "continuous", "recipe": {"name": "any", "lr": 0.1}},
        # The method itself refuses this one: it is about the field as a whole.
        {"method": "ege_unet", "settings": {"widths": [4, 4, 4, 4, 4, 5]}},
    ],
)
def test_what_only_the_method_can_tell_is_left_to_it(changes):
    if "widths" in changes.get("settings", {}):
        pytest.raises(ValueError, get_method("ege_unet").settings, **changes["settings"])
    refuse_mistakes([request(**changes)])


def test_a_settings_class_that_rests_on_more_is_left_to_the_worker(tmp_path):
    file = tmp_path / "odd.py"
    file.write_text(
        "import torch\nfrom bench.contracts import MethodSpec, Settings\n"
        "class S(Settings):\n    kind: str = str(torch.float32)\n"
        "SPEC = MethodSpec(name='odd', settings=S)\n"
    )
    assert settings_class(file) is None


def test_no_torch_is_imported_for_it():
    code = (
        "import sys\nfrom bench.experiments.early import settings_class\n"
        "from bench.registry import plain_method_names, source_file\n"
        "assert all(settings_class(source_file(name)) for name in plain_method_names())\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_wrong_setting_is_said_before_a_worker_starts(bench, tmp_path):
    words = ("run", "-m", "in-domain", "--methods", "gms", "--set", "widht=16")
    result = bench(*words, "--profile", "smoke", "--device", "cpu")
    assert result.returncode == 2 and "widht=16: Extra inputs" in result.stderr
    assert not (tmp_path / "results").exists()  # a worker would have a log there
