"""The page: everything of a report in one HTML file that refers to no other."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

import bench
from bench.core.errors import BenchError
from bench.core.files import write_text
from bench.experiments.ceilings import load_ceilings
from bench.reporting.cases import Chosen, Images
from bench.reporting.claims import check_claims, load_claims
from bench.reporting.claims.listing import claims_listing, findings_listing
from bench.reporting.forensics import findings_of_cells, findings_of_edition
from bench.reporting.html.cells import CellView, Pool, index_grid, views
from bench.reporting.html.grids import Grid, listing_grid, statistics_grids, table_grid
from bench.reporting.html.part import Part
from bench.reporting.html.pictures import Gallery, galleries
from bench.reporting.published import load_edition

TEMPLATES = Path(__file__).parent / "templates"

PICTURES = 2_300_000  # characters for images and outlines of cases
FIGURES = 900_000
CASES = 900_000  # scores of every case
"""Shares of the 5 MB that a page may have; tables and cells need the rest."""


def page_file(out: Path, matrix: str, grid: str = "network", part: bool = False) -> Path:
    """`report-paper.html` in the results folder; `-native` for native scores, `-part` for a report
    that was narrowed."""
    return out / f"report-{matrix}{'-native' * (grid == 'native')}{'-part' * part}.html"


def write_page(
    file: Path,
    title: str,
    parts: Sequence[Part],
    *,
    editions: Sequence[str] = (),
    images: Images | None = None,
    chosen: Chosen | None = None,
) -> Path:
    """Write the page of a report.

    editions: published numbers whose claims are listed. images: of the test cases; without, those
    of phantoms. chosen: cases that are shown first.
    """
    pool = Pool()
    cells = views(parts, pool)
    images = images or Images(None)
    shown = [found for part in parts for found in galleries(part, images, chosen)]
    _pack(shown)
    claims, notes = _claims(parts, editions, file.parent)
    notes += _limit_cases(cells)
    copies: list[str] = []
    content = {
        "title": title,
        "version": bench.__version__,
        "parts": [_part(part) for part in parts],
        "galleries": [gallery for gallery in shown if gallery.packed],
        "figures": _figures(parts),
        "cells": cells,
        "claims": claims,
        "notes": notes,
        "copy": _copier(copies),
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    body = environment.get_template("body.html").render(content)
    stored = {
        "copies": copies,
        "galleries": [gallery.content() for gallery in shown if gallery.packed],
        "cells": {cell.id: cell.data for cell in cells},
        "pool": pool.values(),
    }
    script = (TEMPLATES / "page.js").read_text()
    text = environment.get_template("page.html").render(
        title=title,
        style=Markup((TEMPLATES / "page.css").read_text()),
        script=Markup(script),
        digest=_digest(script),
        body=Markup(body),
        data=json_text(stored),
    )
    write_text(file, text)
    return file


def json_text(value: Any) -> Markup:
    """JSON that no HTML parser can end or open a tag in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _digest(script: str) -> str:
    """What the page's policy names the one script by that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _copier(copies: list[str]) -> Any:
    """Stores a text for the clipboard; gives its number."""

    def place(text: str) -> int:
        copies.append(text)
        return len(copies) - 1

    return place


def _part(part: Part) -> dict[str, Any]:
    shown = frozenset(record.id for record in part.cells)
    return {
        "title": part.title,
        "tables": [table_grid(table, shown) for table in part.tables],
        "statistics": [
            {"title": one.table.caption, "grids": statistics_grids(one)} for one in part.statistics
        ],
        "leaks": part.leaks,
        "index": index_grid(part),
    }


def _pack(shown: Sequence[Gallery]) -> None:
    """Share the room for pictures; what one test set leaves goes to those after it."""
    left = PICTURES
    for place, gallery in enumerate(shown):
        share = left // (len(shown) - place)
        left += gallery.pack(share) - share


def _limit_cases(cells: Sequence[CellView]) -> list[str]:
    """Take the scores of cases out of the last cells where all would be too much."""
    left, cut = CASES, 0
    for cell in cells:
        left -= len(json.dumps(cell.data["tests"]))
        if left < 0:
            cell.data["tests"] = []
            cut += 1
    if not cut:
        return []
    words = (
        f"Scores of single cases are left out of {cut} of {len(cells)} cells to keep the page small"
    )
    return [f"{words}; they are in scores/ of each cell's folder."]


def _figures(parts: Sequence[Part]) -> list[dict[str, str]]:
    """The drawn figures but those of examples, which the page's own browser replaces."""
    left, found = FIGURES, []
    for part in parts:
        for file in part.figures:
            if file.suffix != ".png" or file.stem.endswith("-examples") or not file.is_file():
                continue
            uri = _small_png(file)
            left -= len(uri)
            if left >= 0:
                found.append({"name": file.stem, "of": part.title, "uri": uri})
    return found


def _small_png(file: Path) -> str:
    """A PNG in 64 colours: figures are flat areas and thin lines."""
    with Image.open(file) as picture:
        flat = picture.convert("RGB").quantize(64)
    target = io.BytesIO()
    flat.save(target, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"


def _claims(
    parts: Sequence[Part], editions: Sequence[str], results: Path
) -> tuple[list[Grid], list[str]]:
    """Claims of the editions on the cells and the forensic checks of both; notes on what failed."""
    cells = [cell for part in parts for cell in part.cells]
    ceilings = load_ceilings(results)
    lists, notes = [], []
    for name in editions:
        edition = load_edition(name)
        try:
            sections = check_claims(load_claims(name), edition, cells, ceilings)
            lists += [claims_listing(edition.name, section) for section in sections]
        except BenchError as error:  # such as lengths of training that cannot be averaged
            notes.append(f"The claims of {edition.title} were not checked: {error}")
        title = f"Checks of the numbers in {edition.title}"
        lists.append(findings_listing(title, findings_of_edition(edition)))
    if cells:
        title = f"The same checks of {len(cells)} cells"
        lists.append(findings_listing(title, findings_of_cells(cells)))
    return [listing_grid(one) for one in lists], notes
