"""Which change of a file changes its digest: small files, one rule each."""

import sys
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.experiments.code_digest import resolving_code, tokenizer_code


class Written:
    """Files written into a new folder every time, since a digest is kept per path."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self, files: dict[str, str]) -> Path:
        """The file named first."""
        self.count += 1
        for name, text in files.items():
            path = self.folder / str(self.count) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self.folder / str(self.count) / next(iter(files))

    def code(self, text: str, **beside: str) -> str:
        """Digest of a lone file, with other files beside it."""
        return tokenizer_code(self({"own.py": text} | {f"{n}.py": t for n, t in beside.items()}))


@pytest.fixture
def written(tmp_path) -> Written:
    return Written(tmp_path)


FUNCTION = 'def f(a, b=1, *, c=2):\n    """Text."""\n    return a + b\n'


@pytest.mark.parametrize(
    "one, other",
    [
        (FUNCTION, FUNCTION.replace("Text", "Other text")),
        (FUNCTION, FUNCTION.replace('    """Text."""\n', "")),
        (FUNCTION, FUNCTION.replace("(a, b=1, *, c=2)", "(a: int, b: int = 1, *, c: int = 2) -> int")),
        (FUNCTION, "async " + FUNCTION),
        ("def f(a, /):\n    return a\n", "def f(a: int, /):\n    return a\n"),
        ("A = 1\n", '"""Module."""\n\nA = 1  # comment\n"""About A."""\n'),
        ("class C:\n    a = 1\n", 'class C:\n    """Class."""\n\n    a = 1\n    """About a."""\n'),
        ("class C:\n    pass\n", 'class C:\n    """Class."""\n'),
        ("def f():\n    pass\n", 'def f():\n    """Function."""\n'),
        ("raise BenchError('one')\n", "raise BenchError('two', 3)\n"),
        ("raise errors.DiskFull_Error(text='one')\n", "raise errors.DiskFull_Error()\n"),
        ("f(g, ValueError('one'))\n", "f(g, ValueError('two'))\n"),
        ("assert a, 'one'\n", "assert a, 'two'\n"),
        ("a = 1\nlogger.warning('one')\n", "a = 1\nlogger.info('two')\n"),
        ("import math\nimport torch\na = 1\n", "import torch\nimport math\na = 1\n"),
        ("import bench.data.arrays\na = 1\n", "import bench.core.files\na = 1\n"),
        ("from bench.data import arrays\na = 1\n", "a = 1\n"),
        ("R = Recipe(lr=1.0)\n", "R = Recipe(lr=2.0)\n"),
        ("R = OTHER.model_copy(update={'lr': 1})\n", "R = OTHER.model_copy(update={'lr': 2})\n"),
        ("S = MethodSpec(build=f, title='a')\n", "S = MethodSpec(build=f, title='b', size=8)\n"),
        ("class A(Settings):\n    a: int = 1\n", "class A(Settings):\n    a: float = 2\n"),
    ],
    ids=range(21),
)  # fmt: skip
def test_what_changes_no_number_changes_no_digest(written, one, other):
    if other.startswith("async"):
        one, other = other, other.replace("Text", "Other text")
    assert written.code(one) == written.code(other)


@pytest.mark.parametrize(
    "one, other",
    [
        (FUNCTION, FUNCTION.replace("a + b", "a - b")),
        (FUNCTION, FUNCTION.replace("b=1", "b=2")),
        (FUNCTION, "async " + FUNCTION),
        ("def f():\n    a()\n    b()\n", "def f():\n    b()\n    a()\n"),
        ("def f():\n    a()\n    b()\n", "def f():\n    b()\n"),
        ("a = 1\nb = 2\n", "b = 2\na = 1\n"),
        ("raise BenchError('one')\n", "raise DiskError('one')\n"),
        ("f('one')\n", "f('two')\n"),
        ("f(7)\n", "f(8)\n"),
        ("f(g('one'))\n", "f(g('two'))\n"),
        ("x = a.info\n", "x = a.debug\n"),
        ("x = 'one'\n", "x = 'two'\n"),
        ("assert a, 'one'\n", "assert b, 'one'\n"),
        ("import math\n", "import torch\n"),
        ("import math as m\n", "import math\n"),
        ("from math import sin as f\n", "from math import cos as f\n"),
        ("from os.bench import a\n", "from os.path import a\n"),
        ("S = MethodSpec(build=f)\n", "S = MethodSpec(build=g)\n"),
        ("S = OtherSpec(title='a')\n", "S = OtherSpec(title='b')\n"),
        ("class A(Settings):\n    a: int = 1\n", "class A(Settings):\n    b: int = 1\n"),
        ("class A(Settings):\n    a = f(1)\n", "class A(Settings):\n    a = f(2)\n"),
        ("class A(Network):\n    a: int = 1\n", "class A(Network):\n    a: int = 2\n"),
    ],
    ids=range(22),
)
def test_what_may_change_a_number_changes_the_digest(written, one, other):
    assert written.code(one) != written.code(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("R = Recipe(lr=1.0)\n", "R = Recipe(lr=2.0)\n"),
        ("S = MethodSpec(build=f, title='a')\n", "S = MethodSpec(build=f, title='b')\n"),
        ("class A(Settings):\n    a: int = 1\n", "class A(Settings):\n    a: int = 2\n"),
    ],
)
def test_defaults_recipes_and_fields_count_for_what_resolves_a_request(written, one, other):
    first, second = (resolving_code(written({"own.py": text})) for text in (one, other))
    assert first != second
    errors = [written({"own.py": f"raise BenchError({text!r})\n"}) for text in "ab"]
    assert resolving_code(errors[0]) == resolving_code(errors[1])


# ---- imports


def test_a_file_beside_a_lone_one_counts_by_its_content_and_not_by_its_name(written):
    own = "from helper import f\n\n\nprint(f())\n"
    helper = "def f():\n    return 1\n"
    before = written.code(own, helper=helper)
    assert written.code(own, helper=helper.replace("1", "2")) != before
    assert written.code(own.replace("helper", "renamed"), renamed=helper) == before
    assert written.code(own, helper=helper, unrelated="A = 1\n") == before
    assert written.code(own) != before  # then `helper` is somebody else's package


def test_a_package_beside_a_lone_file_counts_with_all_that_it_imports(written):
    def code(first: str, second: str) -> str:
        files = {"helper/__init__.py": f"from .one import a\n\nB = {first}\n"}
        files["helper/one.py"] = f"a = {second}\n"
        return tokenizer_code(written({"own.py": "from helper import a\n"} | files))

    assert code("1", "1") == code("1", "1")
    assert len({code("1", "1"), code("2", "1"), code("1", "2")}) == 3


def test_a_renamed_file_may_take_another_place_among_the_imports(written):
    files = {"a": "A = 1\n", "b": "B = 2\n"}
    before = written.code("import a as x\nimport b as y\n\nprint(x, y)\n", **files)
    after = written.code(
        "import b as y\nimport z as x\n\nprint(x, y)\n", z=files["a"], b=files["b"]
    )
    assert after == before


def test_the_name_that_is_imported_and_the_name_it_gets_count(written):
    helper = "def f(): ...\n\n\ndef g(): ...\n"
    texts = ("f", "g", "f as g", "g as f")
    codes = [written.code(f"from helper import {text}\n", helper=helper) for text in texts]
    assert len(set(codes)) == 4


def test_files_that_import_each_other_have_a_digest_that_follows_both(written):
    own, helper = "import helper\n\nA = 1\n", "import own\n\nB = 1\n"
    before = written.code(own, helper=helper)
    assert written.code(own, helper=helper) == before
    assert written.code(own, helper=helper.replace("1", "2")) != before
    assert written.code(own.replace("1", "2"), helper=helper) != before


def test_a_file_that_imports_its_own_name_is_read_once(written):
    assert written.code("import own\n") != written.code("import own\n\nA = 1\n")


def test_the_tokenizers_wing_counts_and_no_other(written):
    texts = ("", "import bench.tokenizers.spec\n", "import bench.training.trainer\n")
    nothing, tokenizers, training = (written.code(f"{text}A = 1\n") for text in texts)
    assert tokenizers != nothing == training


@pytest.fixture
def package(written, monkeypatch):
    """Digest of a module deep in a package of the given name; `more` are its other files."""

    def code(name: str, text: str, **more: str) -> str:
        inits = {f"{name}/__init__.py": "", f"{name}/deep/__init__.py": ""}
        others = {f"{name}/{path.replace('__', '/')}.py": code for path, code in more.items()}
        file = written({f"{name}/deep/own.py": text} | inits | others)
        monkeypatch.syspath_prepend(str(file.parents[2]))
        return tokenizer_code(file)

    yield code
    for name in [name for name in sys.modules if name.startswith("digested_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "number, text, where",
    [
        (0, "from . import near\n", "deep__near"),
        (1, "from .near import f\n", "deep__near"),
        (2, "from .. import far\n", "far"),
        (3, "from ..far import f\n", "far"),
        (4, "from digested_4X.deep.near import f\n", "deep__near"),
        (5, "import digested_5X.far\n", "far"),
    ],
)
def test_imports_within_a_package_count_by_content(package, number, text, where):
    """Every variant has a package name of its own: where a module lies is kept per name."""
    digests = [
        package(
            f"digested_{number}{x}", text.replace("X", x), **{where: f"def f():\n    return {n}\n"}
        )
        for x, n in (("a", 1), ("b", 2), ("c", 1))
    ]
    assert digests[0] == digests[2] != digests[1]


def test_modules_outside_the_package_count_by_name_alone(package):
    assert package("digested_out_a", "import math\n") == package("digested_out_b", "import math\n")
    assert package("digested_out_c", "import torch\n") != package("digested_out_d", "import math\n")


def test_a_file_that_is_no_python_is_named_with_its_line(written):
    with pytest.raises(BenchError, match=r"own\.py, line 2: .* Correct the file\."):
        written.code("a = 1\nb = = 2\n")
