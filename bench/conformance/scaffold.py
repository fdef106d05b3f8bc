"""`bench new`: a plugin package, a tokenizer, a matrix or a dataset card that works before anything
is changed."""

import keyword
import re
from pathlib import Path
from string import Template

from bench.core.errors import BenchError
from bench.core.files import write_text
from bench.core.paths import PACKAGE
from bench.registry import plain_method_names, tokenizer_names

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
FILE_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TEMPLATES = PACKAGE / "conformance" / "templates"


def new_method(name: str, folder: Path) -> list[Path]:
    """Write the package `<folder>/<name>/` and return its files.

    It holds pyproject.toml with the entry point, `bench_<name>.py` with SPEC and a tiny network, a
    test that runs the contract, and a README; `bench check method` passes on it.
    Raises BenchError for a name that is not snake_case, is taken, or whose folder exists.
    """
    _require_name(name)
    target = folder / name
    if target.exists():
        raise BenchError(f"{target} exists already. Choose another name or --out, or delete it.")
    words = name.split("_")
    values = {
        "name": name,
        "module": f"bench_{name}",  # a prefix: a method may be called like an installed package
        "distribution": "bench-" + "-".join(words),
        "title": " ".join(word.capitalize() for word in words),
        "class_name": "".join(word.capitalize() for word in words),
    }
    written = []
    for template, place in (
        ("pyproject.toml.txt", "pyproject.toml"),
        ("readme.md.txt", "README.md"),
        ("method.py.txt", f"{values['module']}.py"),
        ("test.py.txt", f"tests/test_{values['module']}.py"),
    ):
        text = Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
        write_text(target / place, text)
        written.append(target / place)
    return written


def new_file(kind: str, name: str, folder: Path) -> Path:
    """Write a commented matrix or dataset card `<folder>/<name>.toml`, or a tokenizer in a plugin file
    `<folder>/bench_<name>.py`, and return it.

    kind: "matrix", "dataset" or "tokenizer". Raises BenchError for a name that a card cannot have, or
    that has a file.
    """
    if not FILE_NAME.fullmatch(name):
        raise BenchError(
            f"{name!r} cannot name a {kind}: use lower-case letters and digits, words joined by "
            "hyphens, a letter first. For example: my-data."
        )
    if kind == "tokenizer" and name in tokenizer_names():
        raise BenchError(
            f"A tokenizer named {name!r} is registered already. Choose a name that says what differs."
        )
    words = name.split("-")
    code = kind == "tokenizer"
    file = f"bench_{'_'.join(words)}.py" if code else f"{name}.toml"
    target = folder / file
    if target.exists():
        raise BenchError(f"{target} exists already. Choose another name or --out, or delete it.")
    template = TEMPLATES / f"{kind}.{'py' if code else 'toml'}.txt"
    values = {
        "name": name,
        "file": file,
        "title": " ".join(word.capitalize() for word in words),
        "class_name": "".join(word.capitalize() for word in words),
    }
    write_text(target, Template(template.read_text(encoding="utf-8")).substitute(values))
    return target


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise BenchError(
            f"{name!r} cannot name a method: use lower-case letters and digits, words joined by "
            "single underscores, a letter first, no Python keyword. For example: my_method."
        )
    if name in plain_method_names():
        raise BenchError(
            f"A method named {name!r} is registered already. Choose a name that says what differs."
        )
