"""The examples in docs/ are complete: each is read by the code that reads such files."""

import re
import tomllib
from pathlib import Path

import pytest

from bench.data.cards import read_card
from bench.experiments.matrices import Overrides, expand, get_matrix
from bench.protocols import get_profile, get_protocol
from bench.registry import get_method, use_plugin_files

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_example_card_is_a_card(tmp_path):
    (text, _) = blocks("datasets.md", "toml")
    file = tmp_path / "clinic.toml"
    file.write_text(text)
    card = read_card(file)
    assert (card.name, card.mask_rule, card.groups.unit) == ("clinic", "> 127", "patient")


def test_the_example_matrix_expands_to_its_cells(tmp_path):
    (_, text) = blocks("datasets.md", "toml")
    file = tmp_path / "clinic.toml"
    file.write_text(text)
    matrix = get_matrix(str(file))
    requests = expand(matrix, Overrides(), get_protocol("clean"), get_profile("demo"))
    assert [(r.method, r.settings.get("loss"), len(r.tests)) for r in requests] == [
        ("unet", None, 2),
        ("gms", None, 2),
        ("gms", "seg", 1),
        ("gms", "lm+seg", 1),
    ]
    assert [table.kind for table in matrix.tables] == ["methods", "ablation"]


def test_the_example_method_is_a_plugin(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.registry._plugin_files", [])
    (text,) = blocks("methods.md", "python")
    file = tmp_path / "my_net.py"
    file.write_text(text)
    use_plugin_files([file])
    spec = get_method("my_net")
    network = spec.build(spec.settings(kernel=5), None)
    assert network.kernel_size == (5, 5) and network.padding == (2, 2)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_and_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short_and_its_links_lead_somewhere():
    readme = DOCS.parent / "README.md"
    text = readme.read_text()
    assert len(text.splitlines()) < 120
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (readme.parent / target).exists(), target


def test_every_toml_block_is_toml():
    for page in DOCS.glob("*.md"):
        for text in blocks(page.name, "toml"):
            tomllib.loads(text)


def test_the_tests_named_beside_planted_mistakes_exist():
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "mutation.md").read_text()))
    tests = "\n".join(file.read_text() for file in Path(__file__).parent.rglob("test_*.py"))
    assert named and {name for name in named if f"def {name}(" not in tests} == set()
