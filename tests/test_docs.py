"""The examples in docs/ are complete: each is read by the code that reads such files."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from data_doubles import picture, square

from bench.data.cards import Access, Card, Expected, Groups, Layout, load_card, read_card
from bench.data.prepare import prepare
from bench.experiments.matrices import (
    CellBlock,
    Matrix,
    Overrides,
    TableBlock,
    expand,
    get_matrix,
)
from bench.experiments.tuning.space import (
    Parameter,
    changes,
    distributions,
    narrowed,
    own_params,
    read_space,
)
from bench.protocols import Profile, Protocol, get_profile, get_protocol
from bench.recipes import Recipe
from bench.registry import get_method, get_tokenizer, use_plugin_files

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def every_field(model, text_of: dict) -> set[str]:
    """The fields of a record that its example leaves out."""
    names = {field.serialization_alias or name for name, field in model.model_fields.items()}
    aliases = {"parts": "published_splits"}  # the name in files that were written before
    return {aliases.get(name, name) for name in names} - set(text_of)


def card(tmp_path, number: int) -> tuple[Card, dict]:
    """The card of a block of the page, and its text as a table."""
    text = blocks("datasets.md", "toml")[number]
    (tmp_path / "card.toml").write_text(text)
    return read_card(tmp_path / "card.toml"), tomllib.loads(text)


def test_the_local_card_prepares_the_folder_of_its_example(tmp_path):
    clinic, _ = card(tmp_path, 0)
    assert (clinic.name, clinic.mask_rule, clinic.access.kind) == ("clinic", "> 127", "local")
    for side, patient in (("train", "pt001"), ("train", "pt002"), ("test", "pt003")):
        place = tmp_path / "in" / side / patient
        place.mkdir(parents=True)
        picture(1).save(place / "a1.png")
        square(1, 1, 3).save(place / "a1_mask.png")
    report = prepare(clinic, tmp_path / "in", tmp_path / "data")
    assert (report.cases, report.groups, report.published_splits) == (3, 3, {"test": 1, "train": 2})


def test_the_other_card_shows_every_field(tmp_path):
    hospital, text = card(tmp_path, 1)
    assert every_field(Card, text) == set()
    assert every_field(Layout, text["layouts"][0]) == {"id"}  # in the first example
    assert every_field(Access, text["access"]) == {"how"}  # of kind "request"
    assert every_field(Expected, text["expected"]) == every_field(Groups, text["groups"]) == set()
    assert (hospital.groups.class_, hospital.expected.largest) == ("diagnosis", (1024, 768))


def test_the_example_matrix_expands_to_its_cells_and_shows_every_field(tmp_path):
    (_, _, text) = blocks("datasets.md", "toml")
    content = tomllib.loads(text)
    assert every_field(Matrix, content) == {"name", "order"}
    assert every_field(CellBlock, content["cells"][0] | content["cells"][1]) == set()
    tables = {name: table for table in content["tables"] for name in table}
    assert every_field(TableBlock, tables) == {"edition", "order", "reference", "published"}
    file = tmp_path / "clinic.toml"
    file.write_text(text)
    matrix = get_matrix(str(file))
    requests = expand(matrix, Overrides(), get_protocol("clean"), get_profile("demo"))
    own = [request for request in requests if request.train == "clinic"]
    assert [(r.method, r.settings.get("loss"), len(r.tests)) for r in own] == [
        ("unet", None, 2),
        ("gms", None, 2),
        ("gms", "seg", 1),
        ("gms", "lm+seg", 1),
    ]
    kinds = [table.kind for table in matrix.tables if table.name.startswith("clinic")]
    assert kinds == ["methods", "cross-domain", "parameters", "ablation"]


def test_the_example_protocol_shows_every_field(tmp_path):
    text = blocks("protocols.md", "toml")[0]
    (tmp_path / "mine.toml").write_text(text)
    assert every_field(Protocol, tomllib.loads(text)["strict"]) == {"name"}
    strict = get_protocol(f"{tmp_path / 'mine.toml'}:strict")
    assert (strict.split, strict.val_share, strict.budget) == ("imported", 0.25, 40000)


def test_the_example_profile_shows_every_field(tmp_path):
    text = blocks("protocols.md", "toml")[1]
    (tmp_path / "mine.toml").write_text(text)
    assert every_field(Profile, tomllib.loads(text)["quick"]) == {"name"}
    quick = get_profile(f"{tmp_path / 'mine.toml'}:quick")
    assert (quick.image_size, quick.epochs, quick.recipe) == (112, 50, {"batch_size": 4})


def test_the_example_tokenizer_is_a_plugin_that_gives_pictures_back(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr("bench.registry._plugin_files", [])
    (text,) = blocks("tokenizers.md", "python")
    (tmp_path / "pixels.py").write_text(text)
    use_plugin_files([tmp_path / "pixels.py"])
    tokenizer = get_tokenizer("pixels").load()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    latents = tokenizer.encode(images)
    assert latents.shape == (2, tokenizer.latent_channels, 4, 4)
    assert torch.allclose(tokenizer.decode(latents), images, atol=1e-6)


def test_the_example_config_describes_stable_diffusions_autoencoder(tmp_path):
    """Counted on the meta device; 83,653,863 is what the spec of sd-vae declares."""
    import diffusers
    import torch

    (text,) = blocks("tokenizers.md", "json")
    with torch.device("meta"):
        network = diffusers.AutoencoderKL.from_config(json.loads(text))
    assert sum(p.numel() for p in network.parameters()) == 83_653_863


def test_the_page_on_reproducing_names_every_dataset_method_and_count():
    page = (DOCS / "reproduce.md").read_text()
    paper = expand(get_matrix("paper"), Overrides(), get_protocol("paper"), get_profile("paper"))
    assert f"{len(paper)} trainings per seed, of {len({r.method for r in paper})} methods" in page
    for name in {request.train for request in paper}:
        facts = load_card(name)
        assert f"bench data prepare {name} --from" in page and facts.access.page in page
        assert f"{facts.expected.cases:,}" in page
    (commands,) = [b for b in re.findall(r"```\n(.*?)```", page, re.DOTALL) if "bench run" in b]
    (several,) = re.findall(r"METHODS=(\S+)", commands)
    named = " ".join(re.findall(r"--methods (\S+)", commands)).replace("$METHODS", several)
    assert set(re.findall(r"\w+", named)) == {request.method for request in paper}


def test_the_example_method_is_a_plugin(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.registry._plugin_files", [])
    (text,) = blocks("methods.md", "python")
    file = tmp_path / "my_net.py"
    file.write_text(text)
    use_plugin_files([file])
    spec = get_method("my_net")
    network = spec.build(spec.settings(kernel=5), None)
    assert network.kernel_size == (5, 5) and network.padding == (2, 2)


def test_the_example_space_shows_every_field_and_fits_a_recipe(tmp_path):
    (text,) = blocks("tuning.md", "toml")
    (tmp_path / "space.toml").write_text(text)
    space = read_space(tmp_path / "space.toml")
    shown = {name for fields in tomllib.loads(text)["recipe"].values() for name in fields}
    assert shown == set(Parameter.model_fields)
    recipe = Recipe(name="x", lr=1e-3)
    over = distributions(space, recipe, {"width": 16}, cases=100)
    params = own_params(space, over, recipe, {"width": 16})
    assert changes(space, params) == (
        {"width": 16},
        {"lr": 1e-3, "grad_clip": None, "ema_decay": None, "warmup": 0},
    )


def test_the_example_of_a_declared_search_is_a_plugin(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.registry._plugin_files", [])
    (text,) = blocks("tuning.md", "python")
    (tmp_path / "two.py").write_text(text)
    use_plugin_files([tmp_path / "two.py"])
    space = narrowed(read_space(), get_method("two_layers").search, set(), "two_layers")
    assert "recipe.loss" not in space and space["width"].choices == (8, 16, 32)
    assert (space["recipe.lr"].low, space["recipe.lr"].times_own) == (1e-4, False)


def test_the_commands_of_the_page_on_tuning_are_commands(tmp_path, monkeypatch):
    """Each is parsed and planned; the search itself is replaced by a record of what it is given."""
    import typer.main

    from bench.cli import tune as command
    from bench.cli.app import app

    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "search", lambda plan, methods, *rest: asked.append(plan) or [])
    shell = (DOCS / "tuning.md").read_text().split("```\n")[1]
    lines = [
        line.partition("#")[0].split() for line in shell.splitlines() if line.startswith("bench")
    ]
    group = typer.main.get_command(app)
    group.main(lines[0][1:], standalone_mode=False)
    assert [(plan.trials, plan.budget, plan.images) for plan in asked] == [(20, 4000, 80_000)]
    for words in lines[1:]:
        group.commands[words[1]].make_context(words[1], words[2:])  # every option is known


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
