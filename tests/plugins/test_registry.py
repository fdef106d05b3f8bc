"""Names have one meaning, and one look-up gives what runs and what is digested."""

import importlib
import subprocess
import sys
from importlib.metadata import EntryPoint

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


TOKENIZER = """
from bench.tokenizers.spec import TokenizerSpec

def load(spec, files, location, weights):
    raise NotImplementedError

SPEC = TokenizerSpec(name="mine", summary="s", role="continuous", loader=load, source="none")
"""


def plugin(folder, text: str, file: str = "mine.py"):
    """A plugin file in use."""
    path = folder / file
    path.write_text(text)
    registry.use_plugin_files([path])
    return path.resolve()


def named(text: str, name: str) -> str:
    return text.replace('name="one-conv"', f'name="{name}"').replace(
        'name="mine"', f'name="{name}"'
    )


def test_shipped_methods_are_found_by_their_own_names():
    for name in registry.plain_method_names():
        assert registry.get_method(name).name == name


def test_the_file_that_is_digested_is_the_module_that_runs():
    for name in registry.plain_method_names():
        module = importlib.import_module(registry._entries(registry.METHODS)[name].module)
        found = registry.find_method(name)
        assert found.load() is module.SPEC
        assert str(found.source) == module.__file__


def test_a_family_is_found_by_its_prefix_and_digested_by_its_file():
    found = registry.find_method("smp:unet/resnet18")
    assert (found.load().name, found.source.name) == ("smp:unet/resnet18", "smp.py")


def test_unknown_method_names_the_nearest_and_how_to_add_one():
    with pytest.raises(BenchError, match=r"Did you mean 'unet'.*bench\.methods.*--plugin"):
        registry.get_method("unett")


def test_plugin_file_registers_a_method(tmp_path):
    file = plugin(tmp_path, PLUGIN)
    assert "one-conv" in registry.plain_method_names()
    found = registry.find_method("one-conv")
    assert (found.load().title, found.source) == ("OneConv", file)
    assert registry.summary("one-conv") == "A method of one convolution."


def test_each_of_two_plugin_files_is_the_source_of_its_own_method(tmp_path):
    files = [plugin(tmp_path, named(PLUGIN, name), f"{name}.py") for name in ("one", "two")]
    assert [registry.source_file(name) for name in ("one", "two")] == files


def test_plugin_file_registers_a_tokenizer(tmp_path):
    file = plugin(tmp_path, TOKENIZER)
    assert "mine" in registry.tokenizer_names()
    found = registry.find_tokenizer("mine")
    assert found.source == found.load().source_file == file


def test_a_plugin_named_unet_is_refused(tmp_path):
    file = plugin(tmp_path, named(PLUGIN, "unet"))
    message = rf"{file} defines a method named 'unet', a name that methods\.unet:SPEC of gms-bench"
    for look_up in (registry.find_method, registry.get_method, registry.source_file):
        with pytest.raises(BenchError, match=message):
            look_up("unet")
    with pytest.raises(BenchError, match=message):
        registry.method_names()


def test_a_plugin_may_not_take_a_name_of_a_family(tmp_path):
    plugin(tmp_path, named(PLUGIN, "smp:unet/resnet18"))
    with pytest.raises(BenchError, match=r"the family smp: \(methods\.smp:family of gms-bench\)"):
        registry.find_method("smp:unet/resnet18")


def test_a_plugins_tokenizer_named_tiny_kl_is_refused_before_any_cell_uses_it(tmp_path):
    plugin(tmp_path, named(TOKENIZER, "tiny-kl"))
    message = r"a tokenizer named 'tiny-kl', a name that bench\.tokenizers\.builtin:TINY_KL_SPEC"
    with pytest.raises(BenchError, match=message):
        registry.get_tokenizer("tiny-kl")
    with pytest.raises(BenchError, match=message):
        registry.find_method("unet")


@pytest.mark.parametrize("text", [PLUGIN, TOKENIZER], ids=["method", "tokenizer"])
def test_two_plugin_files_of_one_name_are_refused(text, tmp_path):
    first, second = plugin(tmp_path, text, "first.py"), plugin(tmp_path, text, "second.py")
    with pytest.raises(BenchError, match=rf"Plugin {second} defines .*plugin {first} has"):
        registry.method_names()


def test_a_method_and_a_tokenizer_may_share_a_name(tmp_path):
    plugin(tmp_path, named(PLUGIN, "both"), "first.py")
    plugin(tmp_path, named(TOKENIZER, "both"), "second.py")
    assert registry.get_method("both").title == "OneConv"
    assert registry.get_tokenizer("both").role == "continuous"


def test_one_file_named_twice_is_one_plugin(tmp_path):
    file = plugin(tmp_path, PLUGIN + "SPECS = [SPEC]\n")
    registry.use_plugin_files([file, tmp_path / ".." / tmp_path.name / "mine.py"])
    assert registry.plugin_files() == (file,)
    assert registry.plain_method_names().count("one-conv") == 1


def test_two_installed_packages_of_one_name_are_refused(monkeypatch):
    entries = [EntryPoint("net", value, registry.METHODS) for value in ("a:SPEC", "b:SPEC")]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    with pytest.raises(BenchError, match=r"register 'net' in bench\.methods: a:SPEC and b:SPEC"):
        registry._entries.__wrapped__(registry.METHODS)


def test_an_entry_point_gives_a_spec_of_its_own_name():
    wrong = EntryPoint("other", "methods.unet:SPEC", registry.METHODS)
    with pytest.raises(BenchError, match="'other' in bench.methods.*MethodSpec whose name is"):
        registry._load_spec(registry.METHODS, wrong)
    with pytest.raises(BenchError, match="TokenizerSpec whose name is 'unet'"):
        registry._load_spec(
            registry.TOKENIZERS, EntryPoint("unet", "methods.unet:SPEC", registry.TOKENIZERS)
        )


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = 1", "defines no SPEC. Add SPEC = MethodSpec"),
        ("SPEC = 3", r"defines 3 as SPEC or in SPECS. Give a MethodSpec \(a method\) or a Tok"),
    ],
)
def test_a_plugin_without_a_spec_says_what_to_define(text, message, tmp_path):
    plugin(tmp_path, text)
    with pytest.raises(BenchError, match=message):
        registry.method_names()


def test_a_plugin_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BenchError, match="No plugin file .*absent.py"):
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
