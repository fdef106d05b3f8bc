"""Text files of a user, each damaged in each way: one sentence that names the file."""

import os

import pytest

CARD = """
name = "mine"
title = "Mine"
modality = "x-ray"
mask_rule = "> 0"
access = "local"
[[layouts]]
name = "simple"
example = "images/1.png with masks/1.png"
image = 'images/(?P<id>\\d+)\\.png'
mask = 'masks/(?P<id>\\d+)\\.png'
"""

MATRIX = """
title = "Mine"
[[cells]]
methods = ["unet"]
train = ["busi"]
[[tables]]
name = "mine"
caption = "Mine"
kind = "methods"
datasets = ["busi"]
"""

RUN = ("run", "--profile", "smoke", "--dry-run")
ABLATIONS = (*RUN, "--matrix", "ablations", "--methods", "unet")
READERS = {
    "card": ("list", "datasets", "--card", "file.toml"),
    "checked card": ("data", "status", "--card", "file.toml"),
    "matrix": (*RUN, "--matrix", "file.toml"),
    "matrix of a report": ("report", "--matrix", "file.toml"),
    "protocol": (*ABLATIONS, "--protocol", "file.toml:mine"),
    "profile": ("run", "--dry-run", "--matrix", "ablations", "--profile", "file.toml:mine"),
    "edition": (*ABLATIONS, "--published", "file.toml"),
}

CONTENTS = {
    "empty": b"",
    "binary": bytes(range(256)) * 4,
    "latin-1": 'title = "Universit\xe9"\n'.encode("latin-1"),
    "utf-16": 'title = "Mine"\n'.encode("utf-16"),
    "no toml": b"[access",
    "json": b'{"title": "Mine"}',
    "a key twice": b'title = "a"\ntitle = "b"\n',
    "deep": b"x = " + b"[" * 100_000,
    "5000 digits": b"x = " + b"9" * 5000,
    "nan": b"x = nan\n",
    "infinity": b"x = [1.0, { y = -inf }]\n",
    "NUL": b'title = "a\x00b"\n',
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_a_damaged_file_is_named(refused, home, words, content):
    (home / "file.toml").write_bytes(content)
    refused(*words, says=("file.",))  # an edition is a file.toml and a file.csv


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_what_is_no_regular_file_is_refused(refused, home, words, make):
    make(home / "file.toml")
    refused(*words, says=("file.toml",))


@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_a_file_that_may_be_endless_is_refused(refused, home, words):
    (home / "file.toml").symlink_to("/dev/zero")
    refused(*words, says=("file.toml",))


# Cards


@pytest.mark.parametrize(
    "old, new, line, says",
    [
        ('name = "mine"', 'name = "../mine"', 2, "name='../mine'"),
        ('name = "mine"', 'name = "Mine"', 2, "name='Mine'"),
        ('name = "mine"', 'name = ""', 2, "name=''"),
        ('name = "mine"', f'name = "{"a" * 300}"', 2, "name='aaa"),
        ('name = "mine"', 'name = "same"', None, 'name "same" means'),
        ('name = "mine"', 'name = "busi"', None, "a name that"),
        ('title = "Mine"', "title = 3", 3, "title=3"),
        ('title = "Mine"', 'titel = "Mine"', 3, "titel='Mine'"),
        ('"> 0"', '"> 5"', 5, "mask_rule='> 5'"),
        ('"local"', '"secret"', 6, "access.kind='secret'"),
        ('"local"', '"open"', 6, 'kind "open" needs `page`'),
        ('"local"', '{ kind = "open", page = "file:///etc" }', 6, "access.page='file:///etc'"),
        ('"local"', '{ kind = "open", page = "https://example.org" }', None, "publisher is missing"),
        ("[[layouts]]", "[layouts]", 7, "layouts"),
        ("\\d+)\\.png'\nmask", "\\d+\\.png'\nmask", 10, "is not a regular expression"),
        ("images/(?P<id>\\d+)", "images/\\d+", 7, "image captures no group named id"),
        ("images/(?P<id>", "images/(?P<side>a)(?P<id>", 7, "a group named side"),
        ('example =', 'id = "{id:>9999999999}"\nexample =', 7, "without a format"),
        ('example =', 'id = "{id!r}"\nexample =', 7, "without a format"),
        ('example =', 'id = "{id.__class__}"\nexample =', 7, "without a format"),
        ('example =', 'id = "{id[0]}"\nexample =', 7, "without a format"),
        ('example =', 'id = "{0}"\nexample =', 7, "without a format"),
        ('example =', 'id = "{}"\nexample =', 7, "without a format"),
        ('example =', 'id = "{id"\nexample =', 7, "is no template"),
        ('example =', 'id = "all"\nexample =', 7, "names no group"),
        ('example =', 'mask_rule = ">= 1"\nexample =', 9, "mask_rule='>= 1'"),
        ("[[layouts]]", "[expected]\ncases = 0\n[[layouts]]", 8, "expected.cases=0"),
        ("[[layouts]]", "[expected]\ncases = -4\n[[layouts]]", 8, "expected.cases=-4"),
        ("[[layouts]]", "[expected]\nlargest = [1]\n[[layouts]]", 8, "largest"),
        ("[[layouts]]", "surprise = 1\n[[layouts]]", 7, "surprise=1"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_card_is_named_at_its_line_once(refused, home, old, new, line, says):
    assert old in CARD
    (home / "file.toml").write_text(CARD.replace(old, new, 1))
    message = refused("list", "datasets", "--card", "file.toml", says=(says, "file.toml"))
    assert message.count(says) == 1
    if line is not None:
        assert f"line {line}, " in message


def test_a_download_may_not_be_named_like_a_folder(refused, home):
    head = CARD.replace('access = "local"', 'publisher = "p"\nlicence = "l"\ncitation = "c"')
    for name in ("..", ".", ".hidden", "a/b", "", "a" * 200, "/etc/passwd", "a\\n"):
        text = f'{head}\n[access]\nkind = "open"\npage = "https://example.org"\n'
        text += f'[[access.files]]\nname = "{name}"\nurl = "https://example.org/x"\n'
        (home / "file.toml").write_text(text)
        refused("data", "fetch", "mine", "--card", "file.toml", says=("access.files.0.name",))


def test_two_downloads_of_one_name_are_refused(refused, home):
    head = CARD.replace('access = "local"', 'publisher = "p"\nlicence = "l"\ncitation = "c"')
    text = f'{head}\n[access]\nkind = "open"\npage = "https://example.org"\n'
    text += '[[access.files]]\nname = "a.zip"\nurl = "https://example.org/x"\n' * 2
    (home / "file.toml").write_text(text)
    refused("data", "fetch", "mine", "--card", "file.toml", says=("two files have one name",))


def test_local_data_are_not_fetched(refused, home):
    (home / "file.toml").write_text(CARD)
    refused("data", "fetch", "mine", "--card", "file.toml", says=("lies on your own disk",))


# Matrices


@pytest.mark.parametrize(
    "old, new, says",
    [
        ('name = "mine"', 'name = "../../outside/precious"', "line 7, tables.0.name="),
        ('name = "mine"', 'name = "/etc/passwd"', "line 7, tables.0.name="),
        ('name = "mine"', 'name = ".."', "line 7, tables.0.name="),
        ('name = "mine"', 'name = ""', "line 7, tables.0.name="),
        ('name = "mine"', f'name = "{"a" * 300}"', "line 7, tables.0.name="),
        ('title = "Mine"', 'title = "Mine"\ninclude = ["file.toml"]', "includes itself"),
        ('title = "Mine"', 'title = "Mine"\ninclude = ["./file.toml"]', "includes itself"),
        ('title = "Mine"', 'title = "Mine"\ninclude = ["other.toml"]', "includes itself"),
        ('title = "Mine"', 'title = "Mine"\ninclude = "paper"', "include is a list of names"),
        ('title = "Mine"', 'title = "Mine"\ninclude = [3]', "include is a list of names"),
        ('title = "Mine"', 'title = "Mine"\ninclude = ["papr"]', "Did you mean 'paper'"),
        ('title = "Mine"', 'titel = "Mine"', "titel='Mine'"),
        ('title = "Mine"', 'title = "Mine"\nname = "x"\nnam = 1', "nam=1"),
        ('["unet"]', '["unett"]', "Did you mean 'unet'"),
        ('["unet"]', '"unet"', "line 4, cells.0.methods='unet'"),
        ('["unet"]', "[]", "no cell"),
        ('train = ["busi"]', 'train = ["bussi"]', "Did you mean 'busi'"),
        ('train = ["busi"]', 'train = ["../busi"]', "'../busi'"),
        ('train = ["busi"]', 'train = ["busi"]\ntest = ["stuu"]', "Did you mean 'stu'"),
        ('train = ["busi"]', 'train = ["busi"]\nsettings = { depth = 3 }', "settings.depth=3"),
        ('kind = "methods"', 'kind = "method"', "line 9, tables.0.kind='method'"),
        ('caption = "Mine"', "", "caption"),
        ('caption = "Mine"', 'caption = "Mine"\nedition = "nature"', "'nature'"),
    ],
)
def test_a_mistake_in_a_matrix(refused, home, old, new, says):
    assert old in MATRIX
    (home / "file.toml").write_text(MATRIX.replace(old, new, 1))
    (home / "other.toml").write_text(
        MATRIX.replace('title = "Mine"', 'title = "O"\ninclude = ["file.toml"]')
    )
    refused(*RUN, "--matrix", "file.toml", says=(says,))


def test_a_product_that_nobody_could_run_is_refused_before_it_is_expanded(refused, home):
    values = list(range(100))
    settings = "\n".join(f"s{number} = {values}" for number in range(6))
    text = MATRIX.replace("[[tables]]", f"[cells.settings]\n{settings}\n[[tables]]")
    (home / "file.toml").write_text(text)
    refused(*RUN, "--matrix", "file.toml", says=("expands to 1000000000000 cells", "20000"))


@pytest.mark.parametrize("title", ["[/red]", "[bold", "[link=x]", "\\[", "[red]Mine[/]", "[/]"])
def test_a_title_is_printed_as_it_is_written(home, commanded, title):
    (home / "file.toml").write_text(MATRIX.replace('title = "Mine"', f"title = '{title}'"))
    status, out, _ = commanded(*RUN, "--matrix", "file.toml")
    assert status == 0 and title in out


@pytest.mark.parametrize("title", ["[/red]", "[bold", "[/]"])
def test_a_cards_title_is_printed_as_it_is_written(home, commanded, title):
    (home / "file.toml").write_text(CARD.replace('"Mine"', f"'{title}'"))
    for words in (("list", "datasets"), ("describe", "dataset", "mine"), ("data", "status")):
        status, out, _ = commanded(*words, "--card", "file.toml")
        assert status == 0 and (title in out or words[0] == "data")


# Protocols and profiles

PROTOCOL = """
[mine]
title = "Mine"
split = "default"
val_share = 0.2
selection = "best-val"
recipe = "native"
"""


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("val_share = 0.2", "val_share = 1.5", "line 5, val_share=1.5"),
        ("val_share = 0.2", "val_share = -1", "line 5, val_share=-1"),
        ("val_share = 0.2", "val_share = 0", "selects the epoch on validation"),
        ("val_share = 0.2", 'val_share = "a fifth"', "line 5, val_share='a fifth'"),
        ('"default"', '"random50"', "line 4, split='random50'"),
        ('"best-val"', '"best"', "line 6, selection='best'"),
        ('"native"', '"own"', "line 7, recipe='own'"),
        ("[mine]", "[yours]", "No protocol named 'mine'"),
        ("[mine]\n", "mine = 3\n[yours]\n", "mine is no table"),
        ("title =", "titel =", "line 3, titel="),
        ("[mine]", '["../mine"]', "No protocol named 'mine'"),
    ],
)
def test_a_mistake_in_a_protocol(refused, home, old, new, says):
    assert old in PROTOCOL
    (home / "file.toml").write_text(PROTOCOL.replace(old, new, 1))
    refused(*ABLATIONS, "--protocol", "file.toml:mine", says=(says,))


def test_a_protocol_may_not_be_named_by_a_path(refused, home):
    """Tables are written to a folder of its name."""
    (home / "file.toml").write_text(PROTOCOL.replace("[mine]", '["../mine"]'))
    refused(*ABLATIONS, "--protocol", "file.toml:../mine", says=("name='../mine'",))


# Lists of a split

SPLIT = ("data", "import-split", "mine", "lists", "--data", "data")


@pytest.fixture
def prepared(home, commanded):
    """Three prepared cases of a card of one's own."""
    from data_doubles import picture, square

    for number in (1, 2, 3):
        for folder, image in (("images", picture(number)), ("masks", square(1, 1, 3))):
            (home / "in" / folder).mkdir(parents=True, exist_ok=True)
            image.save(home / "in" / folder / f"{number}.png")
    (home / "card.toml").write_text(CARD)
    words = ("data", "prepare", "mine", "--from", "in", "--data", "data", "--card", "card.toml")
    assert commanded(*words)[0] == 0
    return home


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("a.json", b"", "is not JSON"),
        ("a.json", b"[]", "wanted"),
        ("a.json", b"3", "wanted"),
        ("a.json", b"null", "wanted"),
        ("a.json", b'{"train": ["1"]}', "wanted"),
        ("a.json", b'{"train": ["1"], "test": ["2"], "dev": ["3"]}', "wanted"),
        ("a.json", b'{"train": "1", "test": ["2"]}', "'train' is not a list of names"),
        ("a.json", b'{"train": [1], "test": ["2"]}', "'train' is not a list of names"),
        ("a.json", b'{"train": ["1"], "test": []}', "names no test case"),
        ("a.json", b'{"train": ["1"], "test": ["1"]}', "occur twice"),
        ("a.json", b'{"train": ["1", "1"], "test": ["2"]}', "occur twice"),
        ("a.json", b'{"train": ["1"], "test": ["9"]}', "match no case of mine: 9"),
        ("a.json", b'{"train": ["1"], "train": ["3"], "test": ["2"]}', "'train' occurs twice"),
        ("a.json", b'{"train": ' + b"[" * 100_000, "nested too deep"),
        ("a.json", b'{"train": [' + b"9" * 5000, "more than 4300 digits"),
        ("a.json", b'{"train": [NaN], "test": ["1"]}', "finite"),
        ("a.json", "{'train': ['\xe9']}".encode("latin-1"), "is not UTF-8"),
        ("a.json", bytes(range(256)), "is not UTF-8"),
        ("a.txt", b"1\n2\n", "line 1: '1' is neither"),
        ("a.txt", b"train 1\ndev 2\n", "line 2: 'dev 2' is neither"),
        ("a.txt", b"", "names no train case"),
        ("a.txt", b"\xff\xfe\x00", "is not UTF-8"),
        ("a.csv", b"case,side\n1,train\n", "line 1"),
        ("a.xlsx", b"PK", "is of no known kind"),
        ("a", b"train 1", "is of no known kind"),
        ("a.pkl", b"", "damaged pickle"),
        ("a.pkl", b"not a pickle", "a.pkl"),
        ("a.pkl", b"\x80\x04]q\x00.", "wanted"),
        ("a.pkl", b"cos\nsystem\n(S'touch evil'\ntR.", "GLOBAL"),
        ("a.pkl", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04evil\x85R.", "STACK_GLOBAL"),
        ("a.pkl", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", "a.pkl"),
        ("a.pkl", b"(" * 100_000 + b".", "damaged pickle"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else None,
)
def test_a_damaged_list_is_refused_and_nothing_is_stored(refused, prepared, name, content, says):
    (prepared / name).write_bytes(content)
    words = [name if word == "lists" else word for word in SPLIT]
    refused(*words, says=(says,))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
@pytest.mark.parametrize("suffix", [".json", ".pkl", ".txt", ""])
def test_lists_that_are_no_files(refused, prepared, make, suffix):
    make(prepared / f"a{suffix}")
    refused(*[f"a{suffix}" if word == "lists" else word for word in SPLIT], says=(f"a{suffix}",))


def test_an_imported_split_that_was_edited_is_refused(refused, prepared, commanded):
    (prepared / "a.json").write_text('{"train": ["1"], "test": ["2"], "val": ["3"]}')
    assert commanded(*["a.json" if word == "lists" else word for word in SPLIT])[0] == 0
    stored = prepared / "data" / "mine" / "splits" / "imported.json"
    text = stored.read_text()
    run = ("run", "--dry-run", "-m", "file.toml", "--data", "data", "--card", "card.toml")
    (prepared / "file.toml").write_text(MATRIX.replace("busi", "mine"))
    assert commanded(*run)[0] == 0
    for old, new in (('"1"', '"9"'), ('"1"', '"2"'), ('"train"', '"trian"')):
        stored.write_text(text.replace(old, new, 1))
        status, out, _ = commanded(*run)
        assert status == 0 and "1 unavailable" in out and "Import the split again" in out
