"""Values on the command line that no option takes: refused by name, before any work."""

import pytest

from bench.cli.options import cases

RUN = ("run", "--matrix", "ablations", "--profile", "smoke")
LONG = "9" * 5000
DEEP = "[" * 100_000
DEEP_TABLES = '{"a":' * 50_000


@pytest.mark.parametrize(
    "text, rule",
    [
        ("", "names no seed"),
        (",", "names no seed"),
        ("0-99999999", "100000000 seeds; at most 1000"),
        ("5-3", "names no seed"),
        ("1-2-3", "write numbers like 0,1,2 or 0-4"),
        ("-1", "write numbers like 0,1,2 or 0-4"),
        ("1.5", "write numbers like 0,1,2 or 0-4"),
        ("1e3", "write numbers like 0,1,2 or 0-4"),
        ("nan", "write numbers like 0,1,2 or 0-4"),
        (LONG, "write numbers like 0,1,2 or 0-4"),
        (f"0-{LONG}", "write numbers like 0,1,2 or 0-4"),
        ("4294967296", "at most 4294967295"),
        ("18446744073709551616", "at most 4294967295"),
    ],
    ids=lambda text: text[:12],
)
def test_seeds(refused, text, rule):
    refused(*RUN, f"--seeds={text}", says=(rule, "--seeds"))


@pytest.mark.parametrize(
    "pair, says",
    [
        ("recipe.lr=NaN", ("recipe.lr=NaN", "finite")),
        ("recipe.lr=Infinity", ("recipe.lr=Infinity", "finite")),
        ("recipe.lr=-Infinity", ("recipe.lr=-Infinity", "finite")),
        ("recipe.lr=1e999", ("recipe.lr=1e999", "finite")),
        ("width=[1, NaN]", ("width=[1, NaN]", "finite")),
        (f"recipe.lr={LONG}", ("recipe.lr=999", "more than 4300 digits")),
        (f"width={LONG}", ("width=999", "more than 4300 digits")),
        (f"width={DEEP}", ("width=[[[", "nested")),
        (f"width={DEEP_TABLES}", ('width={"a":', "nested")),
        ("=3", ("NAME=VALUE",)),
        ("width", ("NAME=VALUE",)),
        ("", ("NAME=VALUE",)),
        ("recipe.=3", ("NAME=VALUE",)),
        ('width={"a": 1, "a": 2}', ("twice", "'a'")),
    ],
    ids=lambda value: str(value)[:14],
)
def test_assignments(refused, pair, says):
    refused(*RUN, "--set", pair, says=(*says, "--set"))


@pytest.mark.parametrize(
    "option, value",
    [
        ("--epochs", "0"),
        ("--epochs", "-3"),
        ("--epochs", "ten"),
        ("--epochs", "1.5"),
        ("--epochs", LONG),
        ("--budget", "0"),
        ("--budget", "many"),
        ("--image-size", "31"),
        ("--image-size", "-224"),
        ("--image-size", "224x224"),
        ("--jobs", "0"),
        ("--jobs", "two"),
        ("--precision", "fp16"),
        ("--recipe", "best"),
        ("--grid", "print"),
        ("--subset", "train"),
        ("--no-such-option", "1"),
        ("--published", "nature2020"),
        ("--device", "tpu"),
        ("--device", "cuda:-1"),
        ("--device", "cuda:one"),
        ("--protocol", ""),
        ("--protocol", ":"),
        ("--protocol", "clean:"),
        ("--protocol", "nowhere.toml"),
        ("--profile", "huge"),
        ("--profile", "nowhere.toml"),
        ("--matrix", ""),
        ("--matrix", "papr"),
        ("--matrix", "nowhere.toml"),
        ("--matrix", ".toml"),
        ("--methods", "unet,unett"),
        ("--methods", "../unet"),
        ("--datasets", "glass"),
        ("--datasets", "../busi"),
        ("--plugin", "nowhere.py"),
        ("--card", "nowhere.toml"),
    ],
    ids=lambda value: value[:20],
)
def test_options_of_run(refused, option, value):
    says = refused(*RUN, "--dry-run", option, value)
    # The command-line library names the option, messages of this package the value.
    assert option in says or repr(value.split(",")[-1].split(":")[0]) in says or value in says


@pytest.mark.parametrize(
    "words, says",
    [
        (("list", "methodes"), "Did you mean 'methods'"),
        (("list", ""), "No list named ''"),
        (("describe", "method", "unett"), "Did you mean 'unet'"),
        (("describe", "method", ""), "No method named ''"),
        (("describe", "dataset", "../busi"), "No dataset named '../busi'"),
        (("describe", "model", "unet"), "No kind named 'model'"),
        (("show", "0123"), "Stored: none"),
        (("show", ""), "Stored: none"),
        (("show", "/etc"), "'/etc'"),
        (("show", "../../outside"), "'../../outside'"),
        (("show", "**"), "'**'"),
        (("show", "[!a"), "'[!a'"),
        (("show", "\udcff"), "Stored: none"),
        (("predict", "/etc", "a.png", "--out", "masks"), "'/etc'"),
        (("predict", "../x", "a.png", "--out", "masks"), "'../x'"),
        (("new", "method", "../evil"), "'../evil'"),
        (("new", "method", "class"), "'class'"),
        (("new", "method", "unet"), "'unet'"),
        (("new", "method", ""), "''"),
        (("new", "method", "a" * 300), "aaaa"),
        (("new", "metod", "mine"), "'metod'"),
        (("check", "method", "nowhere.py"), "nowhere.py"),
        (("check", "metod", "unet"), "'metod'"),
        (("check", "dataset", "glass"), "'glass'"),
        (("report", "--matrix", "papr"), "'papr'"),
        (("report",), "No stored cell"),
        (("tokenizer", "eval", "tiny"), "'tiny'"),
        (("tokenizer", "eval", "@"), "No tokenizer named ''"),
        (("tokenizer", "eval", "tiny-kl@nowhere"), "nowhere"),
        (("tokenizer", "eval", "tiny-kl", "--masks", "nowhere"), "nowhere"),
        (("tokenizer", "eval", "tiny-kl", "--size", "3"), "3"),
        (("tokenizer", "train", "sd-vae", "--out", "there"), "sd-vae"),
        (("data", "fetch", "glass"), "'glass'"),
        (("data", "fetch", "bus"), "cannot be downloaded"),
        (("data", "prepare", "busi", "--from", "nowhere"), "No data folder"),
        (("data", "import-split", "busi", "lists.json"), "No data folder"),
        (("measure", "--methods", "unett"), "'unett'"),
        (("measure", "--train-batch", "1"), "--train-batch"),
        (("nonsense",), "nonsense"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_words_of_other_commands(refused, words, says):
    refused(*words, says=(says,))


@pytest.mark.parametrize(
    "name", ["../outside", "..", "/etc", "busi/../../outside", "", ".", "BUSI"]
)
def test_a_dataset_named_by_a_path_is_refused(refused, home, name):
    (home / "data").mkdir()
    (home / "lists.json").write_text('{"train": ["a"], "test": ["b"]}')
    words = ("data", "import-split", name, "lists.json", "--data", "data")
    refused(*words, says=(repr(name),))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "-m", "ablations", "--profile", "smoke", "--dry-run", "--data", "file"),
        ("run", "-m", "ablations", "--profile", "smoke", "--dry-run", "--out", "file"),
        ("run", "-m", "ablations", "--profile", "smoke", "--methods", "unet", "--out", "file"),
        ("data", "status", "--data", "file"),
        ("data", "prepare", "busi", "--from", ".", "--data", "file"),
        ("data", "import-split", "busi", "file", "--data", "file"),
        ("data", "fetch", "busi", "--to", "file"),
        ("check", "dataset", "busi", "--data", "file"),
        ("tokenizer", "eval", "tiny-kl", "--data", "file"),
        ("report", "--out", "file"),
        ("list", "cells", "--out", "file"),
        ("show", "0", "--out", "file"),
        ("new", "method", "mine", "--out", "file"),
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_a_file_where_a_folder_is_wanted(refused, home, words):
    (home / "file").write_text("a file")
    refused(*words, says=("file",))


def test_a_file_where_the_environment_names_a_folder(refused, home, monkeypatch):
    (home / "file").write_text("a file")
    monkeypatch.setenv("GMS_BENCH_DATA", "file")
    refused("data", "status", says=("file", "folder"))


@pytest.mark.parametrize("text", ["", ",", "case-1", "glas:", ":case-1", "glas", "9" * 5000])
def test_cases(refused, text):
    refused("report", "--matrix", "ablations", "--cases", text, says=("--cases",))


def test_cases_keep_spaces_and_colons_of_their_ids():
    assert cases("glas:testA_12, busi:benign (3),glas:a:b") == {
        "glas": ("testA_12", "a:b"),
        "busi": ("benign (3)",),
    }
