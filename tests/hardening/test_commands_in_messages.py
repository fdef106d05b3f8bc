"""Every command that a message or a manual tells the user to type is one that the command line takes."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from bench.cli.app import app
from bench.protocols import profile_names, protocol_names
from bench.recipes import Recipe
from bench.registry import get_method, plain_method_names

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "bench").rglob("*.py"), *(ROOT / "methods").rglob("*.py")])
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

QUOTED = re.compile(
    r"(?<!by )(?<!project \()`(bench [^`]+)`"
)  # "written by `bench ...`" tells nobody to type it
WORD = r"(?:--?[a-z][\w-]*|X\d+|[A-Z][A-Z_]*(?:\.(?:toml|py))?(?:[@=:][A-Z_]+)*)"
BARE = re.compile(rf"(?<![`\w/-])(bench (?:(?:data|tokenizer) )?[a-z-]+(?: (?:method|dataset|methods|cells|datasets))?(?: {WORD})*)")  # fmt: skip
TYPED = re.compile(r"^(?:\$ )?(?:.*&& )?(bench .*?)(?:\s{2,}#.*|\s#.*)?$", re.MULTILINE)


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string of a module; what is filled in becomes X1, X2, ..."""
    tree = ast.parse(file.read_bytes())
    inside = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }  # fmt: skip
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield node.lineno, node.value
        if isinstance(node, ast.JoinedStr):
            parts = [
                part.value if isinstance(part, ast.Constant) else f"X{number}"
                for number, part in enumerate(node.values)
            ]
            yield node.lineno, "".join(parts)


def commands() -> list[tuple[str, str]]:
    """(place, command line) of all of them."""
    root = typer.main.get_command(app)
    found: dict[str, str] = {}
    for file in SOURCES:
        for line, text in texts(file):
            text = " ".join(text.split())
            bare = [hit for hit in BARE.findall(text) if hit.split()[1] in root.commands]
            for command in (*QUOTED.findall(text), *bare):
                found.setdefault(command, f"{file.relative_to(ROOT)}:{line}")
    for page in PAGES:
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL):
            for command in TYPED.findall(block):
                found.setdefault(command.strip(), page.name)
        for command in QUOTED.findall(page.read_text()):
            found.setdefault(" ".join(command.split()), page.name)
    return [(place, command) for command, place in sorted(found.items())]


PLACEHOLDERS = {"EDITION": "aaai2025", "N": "3", "VALUE": "3"}


def typed(command: str) -> list[str]:
    """The words of a command, placeholders filled in; of `a|b` the first."""
    words = [PLACEHOLDERS.get(word.rstrip("."), word) for word in shlex.split(command)[1:]]
    words = [word.split("|")[0] for word in words if word != "..."]
    return [re.sub(r"^X\d+$", "NAME", word).rstrip(".") or "." for word in words]


UsageError = typer.BadParameter.__mro__[1]  # of the copy of click that typer brings
assert UsageError.__name__ == "UsageError"


def parsed(words: list[str]) -> None:
    """Read a command line as the command does; raises UsageError for one that is not understood."""
    command = typer.main.get_command(app)
    context = command.context_class(command, info_name="bench")
    while hasattr(command, "commands"):
        if not words:
            return
        name, command, words = command.resolve_command(context, words)
        if not hasattr(command, "commands"):
            command.make_context(name, words, parent=context)


COMMANDS = commands()


def test_there_are_commands_to_type():
    lines = [command for _, command in COMMANDS]
    assert len(lines) > 40
    assert "bench data import-split X1 FILE" in " ".join(re.sub(r"X\d+", "X1", c) for c in lines)
    assert any(command.startswith("bench run --matrix") for command in lines)


def test_a_command_that_does_not_exist_is_noticed():
    for words in ("data prepair NAME", "data NAME", "report --grd native", "run --epochs many"):
        with pytest.raises(UsageError):
            parsed(words.split())


def incomplete(words: list[str]) -> bool:
    """A command that is only named ("`bench run` says why"), without its arguments."""
    return not any(word.startswith("-") or word.isupper() for word in words)


@pytest.mark.parametrize("place, command", COMMANDS, ids=[command[:60] for _, command in COMMANDS])
def test_a_command_that_is_told_can_be_typed(place, command):
    words = typed(command)
    if words[1:2] == ["NAME"] and words[0] in ("data", "tokenizer", "report"):
        pytest.skip("which command or option it is, is filled in; its own test reads the message")
    try:
        parsed(words)
    except UsageError as error:
        # A manual may speak of one option of a command, a message tells the whole of it.
        named = incomplete(words) or place.endswith(".md")
        assert named and type(error).__name__ == "MissingParameter", (
            f"{place}: {command}: {error.format_message()}"
        )


SETTINGS = {
    name: {*get_method(name).settings.model_fields} for name in plain_method_names()
}  # fmt: skip


def assigned() -> list[tuple[str, str, str]]:
    """(place, name, value) of every `--set NAME=VALUE` that a string names."""
    found = []
    for file in SOURCES:
        for line, text in texts(file):
            for name, value in re.findall(r"--set ([\w.]+)=([\w.-]+)", " ".join(text.split())):
                if name not in ("NAME", "recipe.NAME"):
                    found.append((f"{file.relative_to(ROOT)}:{line}", name, value))
    return found


def test_every_setting_that_is_told_is_one_of_its_method():
    assert assigned()
    for place, name, _ in assigned():
        module = place.partition("/")[2].split(".")[0]
        if name.startswith("recipe."):
            assert name.removeprefix("recipe.") in Recipe.model_fields, place
        elif module in SETTINGS:
            assert name in SETTINGS[module], place
        else:
            assert any(name in fields for fields in SETTINGS.values()), place


@pytest.mark.parametrize("option, known", [("protocol", protocol_names()), ("profile", profile_names())])  # fmt: skip
def test_every_protocol_and_profile_that_is_told_exists(option, known):
    for file in SOURCES:
        for line, text in texts(file):
            for name in re.findall(rf"--{option} ([a-z][\w]*)", " ".join(text.split())):
                assert name in known, f"{file.relative_to(ROOT)}:{line}: --{option} {name}"
