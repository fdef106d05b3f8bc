import subprocess
import sys

import pytest

from bench import registry
from bench.core.errors import BenchError


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch):
    monkeypatch.setattr(registry, "_plugin_files", [])


PLUGIN = '''"""A method of one convolution."""
from bench.contracts import MethodSpec

def build(settings, context):
    from torch import nn
    return nn.Conv2d(3, 1, 3, padding=1)

SPEC = MethodSpec(name="one-conv", title="OneConv", family="CNN", build=build,
                  summary="one convolution", citation="none")
'''


def test_shipped_methods_are_found_by_their_own_names():
    for name in registry.plain_method_names():
        assert registry.get_method(name).name == name


def test_unknown_method_names_the_nearest_and_how_to_add_one():
    with pytest.raises(BenchError, match=r"Did you mean 'unet'.*bench\.methods.*--plugin"):
        registry.get_method("unett")


def test_plugin_file_registers_a_method(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    registry.use_plugin_files([file])
    assert "one-conv" in registry.plain_method_names()
    assert registry.get_method("one-conv").title == "OneConv"
    assert registry.source_file("one-conv") == file.resolve()
    assert registry.summary("one-conv") == "A method of one convolution."


def test_broken_or_empty_plugins_say_why(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_like_this")
    registry.use_plugin_files([broken])
    with pytest.raises(BenchError, match=r"broken\.py fails to import.*nothing_like_this"):
        registry.method_names()
    registry._plugin_files.clear()
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1")
    registry.use_plugin_files([empty])
    with pytest.raises(BenchError, match="defines no SPEC"):
        registry.method_names()
    with pytest.raises(BenchError, match="No plugin file"):
        registry.use_plugin_files([tmp_path / "absent.py"])


def test_names_and_summaries_need_no_torch():
    code = (
        "import sys; from bench import registry;"
        "assert all(registry.summary(n) for n in registry.plain_method_names());"
        "print([m for m in ('torch', 'diffusers', 'timm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_roles_and_names_choose_a_tokenizer():
    roles = {"continuous": "tiny-kl", "discrete": "tiny-vq"}
    assert registry.choose_tokenizer(None, "tiny-kl", roles) is None
    assert registry.choose_tokenizer("continuous", None, roles)[0].name == "tiny-kl"
    assert registry.choose_tokenizer("continuous", "discrete", roles)[0].name == "tiny-vq"
    spec, location = registry.choose_tokenizer("continuous", "sd-vae@some/folder", roles)
    assert (spec.name, location) == ("sd-vae", "some/folder")
    with pytest.raises(BenchError, match="Did you mean 'tiny-kl'"):
        registry.choose_tokenizer("continuous", "tiny-k", roles)
