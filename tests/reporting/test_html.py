"""The report page: what it holds, that names cannot break it, that it refers to nothing outside,
and that it works in a browser."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from records import case_rows, cell, curve, put_scores

from bench.conformance.scaffold import new_file
from bench.core.files import write_with
from bench.experiments.cells import load_cells
from bench.experiments.matrices import Matrix, TableBlock
from bench.experiments.predictions import Predictions
from bench.reporting.cases import Case, Images
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.html import page as page_module
from bench.reporting.html.contours import outline
from bench.reporting.html.curves import curves_svg
from bench.reporting.html.grids import order_of
from bench.reporting.html.page import json_text, page_file, write_page
from bench.reporting.html.part import Part
from bench.reporting.html.pictures import galleries
from bench.reporting.report import View, rebuild
from bench.reporting.statistics import table_statistics
from bench.reporting.tables import build_tables, comparison_key

METHODS = TableBlock(
    name="t1", caption="Methods", kind="methods", datasets=("busi",), reference="gms"
)
EVIL = "<script>alert('x')</script>"


def disc(radius, size=32):
    y, x = np.mgrid[:size, :size]
    return (y - 16) ** 2 + (x - 16) ** 2 <= radius**2


def stored(folder, method, scores, keep=2, title=None, **more):
    """A cell on busi with one DSC per case, its predictions, and `keep` examples."""
    record = cell(folder, method, history=curve(), **more)
    rows = [
        {"dsc": dsc, "iou": dsc / 2, "hd95": 9.0 - at, "hd95_directed": 9.0}
        for at, dsc in enumerate(scores)
    ]
    ids = tuple(f"case-{at}" for at in range(len(scores)))
    preds = tuple(disc(4 + at) for at in range(len(scores)))
    record = put_scores(record, "busi-test", case_rows(rows))
    kept = {
        "case_ids": np.array(ids[:keep]),
        "images": np.stack([np.full((32, 32, 3), 40 * at, np.uint8) for at in range(keep)]),
        "masks": np.stack([disc(8)] * keep),
        "preds": np.stack(preds[:keep]),
    }
    file = record.folder / "scores" / "busi-test-examples.npz"
    write_with(file, lambda target: np.savez_compressed(target, **kept))
    checksum = Predictions(ids, preds, preds).write(record.folder, "busi-test")
    tests = {"busi-test": record.tests["busi-test"].model_copy(update={"predictions": checksum})}
    record = record.model_copy(update={"tests": tests, **({"title": title} if title else {})})
    record.write(record.folder)
    return record


def part_of(folder):
    cells = load_cells(folder)
    scores = ScoreIndex(scores_of(cells))
    tables = build_tables([METHODS], cells, scores=scores, titles={"busi": "BUSI"})
    found = [table_statistics(table, scores, "gms") for table in tables]
    key = comparison_key(cells[0])
    return Part(key, cells, tables, [f for f in found if f], [], scores, {"busi": "BUSI"})


@pytest.fixture
def results(tmp_path):
    """GMS is worst on case-0, UNet on case-2."""
    stored(tmp_path / "cells", "gms", [0.1, 0.5, 0.9, 0.8])
    stored(tmp_path / "cells", "unet", [0.6, 0.5, 0.2, 0.4], title=EVIL)
    return tmp_path


@pytest.fixture
def written(results):
    file = write_page(results / "page.html", "A report", [part_of(results / "cells")])
    return file.read_text(encoding="utf-8")


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


class Tags(HTMLParser):
    """Every tag with its attributes, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags[-1:] and self.tags[-1][0] not in ("script", "style"):
            self.words += data


# ---- content


def test_the_sections_of_a_report_are_there(written):
    ids = [attrs.get("id") for tag, attrs in Tags(written).tags if tag == "section"]
    assert ids == ["tables", "predictions", "statistics", "audit", "claims", "cells"]


def test_a_table_shows_the_numbers_and_marks_of_print(written):
    table = written[written.index('id="table-1-1"') :].split("</table>")[0]
    assert re.search(r'class="n best"[^>]*><a [^>]*><span>57\.50</span>', table)
    assert re.search(r'class="n second"[^>]*><a [^>]*><span>42\.50</span>', table)


def test_a_number_leads_to_its_cell(written):
    parsed = Tags(written)
    links = {
        attrs["href"] for tag, attrs in parsed.tags if tag == "a" and "#cell-" in attrs["href"]
    }
    ids = {attrs.get("id") for _, attrs in parsed.tags}
    assert len(links) == 2 and {link[1:] for link in links} <= ids


def test_copy_buttons_hold_latex_and_csv(written):
    copies = data_of(written)["copies"]
    assert copies[0].startswith(r"\begin{table}") and copies[1].startswith("table,row,")
    assert written.count("data-copy=") == len(copies)


def test_a_cell_has_settings_provenance_curves_and_the_score_of_every_case(written):
    data = data_of(written)
    (gms,) = (own for name, own in data["cells"].items() if name.startswith("gms"))
    pool = data["pool"]
    assert pool[gms["facts"]["Settings"]] == {"loss": "lm+seg"}
    assert pool[gms["facts"]["Provenance"]]["commit"] == "0123456789abcdef"
    (test,) = gms["tests"]
    assert pool[test["cases"]] == ["case-0", "case-1", "case-2", "case-3"]
    assert test["scores"] == [[0.1, 0.5, 0.9, 0.8], [0.05, 0.25, 0.45, 0.4], [9.0, 8.0, 7.0, 6.0]]
    assert written.count('<svg class="curve"') == 4  # loss and DSC of two cells


def test_a_cell_with_a_damaged_history_keeps_its_other_facts(results):
    gms, _ = load_cells(results / "cells")
    (gms.folder / "history.parquet").write_bytes(b"x")
    text = write_page(results / "page.html", "A", [part_of(results / "cells")]).read_text()
    assert "history.parquet is missing or was changed" in Tags(text).words
    assert text.count('<svg class="curve"') == 2


def test_a_page_without_images_or_a_scored_cell(tmp_path):
    cell(tmp_path / "cells", "gms", status="failed", error="too little memory")
    text = write_page(tmp_path / "p.html", "A", [part_of(tmp_path / "cells")]).read_text()
    assert 'id="predictions"' not in text and "too little memory" in Tags(text).words


def test_the_report_writes_the_page_when_it_is_asked_for(results, capsys):
    from rich.console import Console

    matrix = Matrix(name="m", title="A matrix", tables=(METHODS,))
    assert page_file(results, "m") not in rebuild(matrix, results, {}, View(), Console())
    assert page_file(results, "m") in rebuild(matrix, results, {}, View(html=True), Console())
    assert "report-m.html" in capsys.readouterr().out
    names = [a["alt"] for t, a in Tags(page_file(results, "m").read_text()).tags if t == "img"]
    assert any(name.startswith("training:") for name in names)


def test_a_dataset_of_a_users_card_has_its_title(tmp_path, capsys):
    from rich.console import Console

    cell(tmp_path / "cells", "unet", "clinic-nord")
    block = METHODS.model_copy(update={"datasets": ("clinic-nord",)})
    matrix = Matrix(name="m", title="A matrix", tables=(block,))
    card = new_file("dataset", "clinic-nord", tmp_path)
    rebuild(matrix, tmp_path, {}, View(cards=(card,), format="markdown"), Console())
    assert "Clinic Nord DSC" in capsys.readouterr().out


# ---- names


def test_a_title_with_a_tag_stays_text(written):
    parsed = Tags(written)
    assert EVIL in parsed.words
    assert [attrs for tag, attrs in parsed.tags if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    lines = data_of(written)["galleries"][0]["lines"]
    assert EVIL in [line["label"] for line in lines]


def test_json_in_the_page_ends_no_script():
    text = json_text({"a": "</script><!--&\u2028"})
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {"a": "</script><!--&\u2028"}


# ---- self-containedness


def test_the_page_refers_to_nothing_outside(written):
    for tag, attrs in Tags(written).tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            value = attrs.get(name) or ""
            assert not value or value.startswith(("data:", "#")), (tag, attrs)
    assert not re.search(r"https?://|@import|url\(", written)


def test_the_policy_lets_the_pages_own_script_run_and_loads_nothing(written):
    (policy,) = (a["content"] for t, a in Tags(written).tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert html.unescape(policy).count("sha256-") == 1 and "script-src 'unsafe" not in policy


# ---- pictures


def test_a_mask_becomes_rings_along_its_pixels():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    assert outline(mask) == "M1 1h3v2h-3v-2z"
    assert outline(np.zeros((4, 4), bool)) == ""


def filled(path, height, width):
    """The mask inside a path of `outline`, by counting vertical edges to the left (even-odd)."""
    crossed = np.zeros((height, width + 1), int)
    for ring in re.findall(r"M(\d+) (\d+)([^z]*)z", path):
        x, y = int(ring[0]), int(ring[1])
        for way, length in re.findall(r"([hv])(-?\d+)", ring[2]):
            if way == "h":
                x += int(length)
                continue
            stop = y + int(length)
            crossed[min(y, stop) : max(y, stop), x] += 1
            y = stop
    return np.cumsum(crossed, axis=1)[:, :width] % 2 == 1


def test_an_outline_holds_the_mask_exactly():
    mask = np.random.default_rng(0).random((20, 30)) < 0.5  # holes, corners, the border
    np.testing.assert_array_equal(filled(outline(mask), 20, 30), mask)


def test_without_data_the_kept_examples_are_shown_with_their_true_rank(results):
    (gallery,) = galleries(part_of(results / "cells"), Images(None))
    gallery.pack(10**6)
    content = gallery.content()
    assert [case["id"] for case in content["cases"]] == ["case-0", "case-1"]
    by_label = {line["label"]: line for line in content["lines"]}
    assert by_label["GMS"]["rank"] == [1, 2] and by_label["GMS"]["n"] == 4
    assert by_label["GMS"]["picks"] == [0, 1, None]  # worst, median; the best is not kept
    assert by_label[EVIL]["rank"] == [4, 3]
    assert "only the images that the cells keep" in content["note"]


def test_cases_are_chosen_for_all_and_for_each_method(results):
    (gallery,) = galleries(part_of(results / "cells"), Images(None))
    assert gallery.reasons == {
        "case-0": ["worst on average", "worst of GMS", "best of <script>alert('x')</script>",
                   "kept with the cells"],
        "case-1": ["median on average", "median of GMS", "kept with the cells"],
    }  # fmt: skip


def test_a_case_that_was_asked_for_comes_first(results):
    (gallery,) = galleries(
        part_of(results / "cells"), Images(None), {"busi": ("case-1", "case-3"), "glas": ("x",)}
    )
    assert next(iter(gallery.reasons.items())) == (
        "case-1", ["asked for", "median on average", "median of GMS", "kept with the cells"]
    )  # fmt: skip
    assert "Asked for and not among them: case-3." in gallery.note


def test_a_full_page_says_how_many_cases_it_leaves_out(results):
    (gallery,) = galleries(part_of(results / "cells"), Images(None))
    gallery.pack(10**6)
    room = len(json.dumps(gallery.content()["cases"][0]))
    (again,) = galleries(part_of(results / "cells"), Images(None))
    assert again.pack(room) == 0
    assert list(again.packed) == ["case-0"]
    assert "1 chosen cases are left out" in again.note


def test_pictures_of_many_cases_keep_the_page_small(results, monkeypatch):
    monkeypatch.setattr(page_module, "PICTURES", 4000)
    part = part_of(results / "cells")
    text = write_page(results / "p.html", "A", [part]).read_text()
    assert sum(len(json.dumps(own)) for own in data_of(text)["galleries"][0]["cases"]) <= 4000


# ---- pieces


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("−1.20 [−2.00, −0.10]", -1.2),
        ("<0.001", 0.001),
        ("14,751,873", 14751873.0),
        ("2≈ [1–3]", 2.0),
        ("–", None),
        ("3D-UNet", "3D-UNet"),
        ("GMS", "GMS"),
    ],
)
def test_words_are_sorted_by_their_number(word, key):
    assert order_of(word) == key


def test_a_long_history_is_thinned_and_keeps_its_ends():
    svg = curves_svg(curve(1000))
    points = re.findall(r'points="([^"]*)"', svg)[0].split()
    assert len(points) == 100
    assert points[0].startswith("40,") and points[-1].startswith("312,")


# ---- in a browser

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
in_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here")


def opened(file, tmp_path):
    """(the document after its scripts ran, what the console said)."""
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=3000", "--dump-dom",
         file.as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def asked(text, script, tmp_path):
    """What `script` returns in the page, as JSON; an error in the page fails."""
    probe = (
        "<script>onerror = (words) => { document.title = 'error ' + words; };"
        f"document.title = JSON.stringify((() => {{{script}}})());</script></body>"
    )
    text = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", probe)
    file = tmp_path / "probed.html"
    file.write_text(text, encoding="utf-8")
    dom, _ = opened(file, tmp_path)
    return json.loads(html.unescape(re.search("<title>(.*?)</title>", dom, re.DOTALL)[1]))


@in_browser
def test_the_page_opens_without_a_console_error(results, written, tmp_path):
    dom, console = opened(results / "page.html", tmp_path)
    assert console == []
    assert dom.count("<option value=") == 1 + 2 + 2  # test set, two views, two cases
    panels = dom[dom.index('id="panels"') : dom.index('id="panel"')]
    assert panels.count("<figure") == 3 and "DSC 10.0 %" in panels


@in_browser
def test_the_check_of_the_console_sees_an_error(tmp_path):
    file = tmp_path / "bad.html"
    file.write_text("<script>console.error('wrong')</script>")
    _, console = opened(file, tmp_path)
    assert len(console) == 1 and "wrong" in console[0]


@in_browser
def test_sorting_filtering_contours_and_cells_work(written, tmp_path):
    script = """
    const names = () => [...document.querySelectorAll("#table-1-1 tbody tr")]
      .filter((row) => !row.hidden).map((row) => row.cells[3].textContent);
    const button = [...document.querySelectorAll("#table-1-1 .sort")][3];
    const found = [names()];
    for (let press = 0; press < 3; press++) { button.click(); found.push(names()); }
    const box = document.querySelector("[data-filter=table-1-1]");
    box.value = "gms";
    box.dispatchEvent(new Event("input", { bubbles: true }));
    found.push(names());
    document.getElementById("truth").click();
    found.push(document.getElementById("panels").className);
    document.getElementById("after").click();
    found.push(document.getElementById("gallerynote").textContent.slice(0, 6));
    const cell = document.querySelector("details.cell[id^=cell-gms]");
    fill(cell);
    found.push(cell.querySelectorAll(".cases tbody tr").length);
    return found;
    """
    as_printed = ["42.50", "57.50"]
    assert asked(written, script, tmp_path) == [
        as_printed,
        ["42.50", "57.50"],
        ["57.50", "42.50"],
        as_printed,
        ["57.50"],
        "no-truth",
        "case-1",
        4,
    ]


# ---- size


def test_a_page_as_large_as_the_papers_stays_below_5_mb(tmp_path, monkeypatch):
    """14 methods on 5 datasets, 100 cases each, with more pictures than there is room for."""
    noise = np.random.default_rng(0)
    image = noise.integers(0, 256, (256, 256, 3), dtype=np.uint8)  # JPEG's worst case
    ragged = noise.random((256, 256)) < 0.003  # and the outline's
    datasets = ("bus", "busi", "glas", "ham10000", "kvasir-instrument")
    ids = tuple(f"case-{at}" for at in range(100))
    for train in datasets:
        for place in range(14):
            scores = noise.random(100)
            record = cell(
                tmp_path / "cells", f"m{place}", train, history=curve(1000),
                provenance={"packages": {f"package-{n}": "1.2.3" for n in range(40)}},
            )  # fmt: skip
            put_scores(record, f"{train}-test", case_rows([{"dsc": float(s)} for s in scores]))
    block = METHODS.model_copy(update={"datasets": datasets})
    cells = load_cells(tmp_path / "cells")
    scores = ScoreIndex(scores_of(cells))
    tables = build_tables([block], cells, scores=scores)
    part = Part(comparison_key(cells[0]), cells, tables, [], [], scores, {})
    case = Case(image, ragged)
    monkeypatch.setattr(Images, "of", lambda *_: lambda _: case)
    monkeypatch.setattr(Images, "masks", lambda *_: dict.fromkeys(ids, ragged))
    file = write_page(tmp_path / "p.html", "A", [part], editions=["aaai2025", "arxiv-v1"])
    text = file.read_text(encoding="utf-8")
    content = data_of(text)
    assert len(content["cells"]) == 70 and len(content["galleries"]) == 5
    assert all(len(one["cases"]) >= 1 for one in content["galleries"])
    assert "chosen cases are left out" in content["galleries"][0]["note"]
    assert file.stat().st_size < 5_000_000
