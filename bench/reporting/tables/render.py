"""Tables as Markdown, LaTeX and CSV text."""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from bench.core.files import write_text
from bench.reporting.tables.data import FIELDS as DATA_FIELDS
from bench.reporting.tables.table import Entry, Table, TableRow

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$^\dagger$",
    "✓": r"$\checkmark$",
    "≈": r"$\approx$",
}

PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{amssymb,booktabs,graphicx}
\usepackage[margin=2cm]{geometry}"""


def entry_text(entry: Entry) -> str:
    """The entry's words, a tie, the printed number beside them: "80.93≈ [81.43, −0.50]"."""
    text = entry.text + "≈" * entry.tied
    if entry.printed is None:
        return text
    if entry.difference is None:
        return f"{text} [{entry.printed}]"
    gap = f"{entry.difference:+.2f}".replace("-", "−")
    return f"{text} [{entry.printed}, {gap}]"


def lead_words(table: Table) -> list[list[str]]:
    """The leading words of each row; a group's name stands in its first row only."""
    words, previous = [], None
    for row in table.rows:
        lead = list(row.lead)
        if table.label_at > 0 and row.group and row.group == previous:
            lead[0] = ""
        previous = row.group
        words.append(lead)
    return words


# ---- Markdown


def to_markdown(table: Table) -> str:
    """GitHub Markdown: the caption in bold, the table, its footnotes and footer."""
    spans = chain.from_iterable([title] * width for title, width in table.spans)
    tops = list(spans) or [""] * len(table.headers)
    headers = [f"{top} {head}".strip() for top, head in zip(tops, table.headers, strict=True)]
    lines = [f"**{escape_markdown(table.caption)}**", ""]
    lines.append(_md_line([*table.lead_headers, *headers]))
    lines.append(_md_line([":--"] * len(table.lead_headers) + ["--:"] * len(headers)))
    for row, lead in zip(table.rows, lead_words(table), strict=True):
        words = [escape_markdown(word) for word in lead]
        words[table.label_at] += ("†" if row.dagger else "") + _md_footnotes(row.footnotes)
        lines.append(_md_line([*words, *(_md_entry(entry) for entry in row.entries)]))
    lines.append("")
    lines += [
        f"<sup>{number}</sup> {escape_markdown(text)}<br>"
        for number, text in enumerate(table.footnotes, 1)
    ]
    lines += [f"{escape_markdown(line)}<br>" for line in table.footer]
    return "\n".join(lines).removesuffix("<br>") + "\n"


def escape_markdown(text: str) -> str:
    """Text that GitHub Markdown prints as it stands."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return text


def _md_line(words: Sequence[str]) -> str:
    return "| " + " | ".join(words) + " |"


def _md_footnotes(numbers: Sequence[int]) -> str:
    return f"<sup>{','.join(map(str, numbers))}</sup>" if numbers else ""


def _md_entry(entry: Entry) -> str:
    text = escape_markdown(entry.text)
    text = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(entry.mark, text)
    beside = escape_markdown(entry_text(entry).removeprefix(entry.text))
    return text + _md_footnotes(entry.footnotes) + beside


# ---- LaTeX


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def to_latex(table: Table) -> str:
    """A `table` environment; needs the packages booktabs, graphicx and amssymb."""
    columns = "l" * len(table.lead_headers) + "r" * len(table.headers)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_latex_heads(table),
        r"\midrule",
        *_latex_rows(table),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize",
        *(
            rf"$^{{{number}}}$ {escape_latex(text)}\par"
            for number, text in enumerate(table.footnotes, 1)
        ),
        *(rf"{escape_latex(line)}\par" for line in table.footer),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_heads(table: Table) -> list[str]:
    leads = [_latex_lead_header(header) for header in table.lead_headers]
    heads = " & ".join([*leads, *map(escape_latex, table.headers)]) + r" \\"
    if not table.spans:
        return [heads]
    tops, rules, start = [""] * len(leads), [], len(leads) + 1
    for title, width in table.spans:
        tops.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(title)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return [" & ".join(tops) + r" \\", "".join(rules), heads]


def _latex_lead_header(header: str) -> str:
    base, underscore, index = header.partition("_")
    if base == "L" and underscore:
        return rf"$\mathcal{{L}}_{{{index}}}$"
    return escape_latex(header)


def _latex_rows(table: Table) -> list[str]:
    lines: list[str] = []
    previous: TableRow | None = None
    for row, lead in zip(table.rows, lead_words(table), strict=True):
        if previous is not None and table.label_at > 0 and row.group != previous.group:
            lines.append(r"\midrule")
        words = [escape_latex(word) for word in lead]
        words[table.label_at] += (r"$^\dagger$" if row.dagger else "") + _latex_footnotes(
            row.footnotes
        )
        lines.append(" & ".join([*words, *(_latex_entry(entry) for entry in row.entries)]) + r" \\")
        previous = row
    return lines


def _latex_footnotes(numbers: Sequence[int]) -> str:
    return f"$^{{{','.join(map(str, numbers))}}}$" if numbers else ""


def _latex_entry(entry: Entry) -> str:
    text = escape_latex(entry.text)
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(entry.mark, text)
    beside = escape_latex(entry_text(entry).removeprefix(entry.text))
    return text + _latex_footnotes(entry.footnotes) + beside


def to_latex_document(tables: Sequence[Table]) -> str:
    """A document of all tables that compiles on its own."""
    body = "\n".join(rf"{to_latex(table)}\clearpage" for table in tables)
    return f"{PREAMBLE}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"


# ---- CSV


def to_csv(table: Table) -> str:
    """One line per number, in full precision; a missing one keeps its line and its reason."""
    fields = [
        *("table", "row", *(name for name, _ in table.rows[0].facts)),
        *("train", "test", "subset", "metric", "value", "sd", "seeds", "cases", "empty"),
        *("mark", "tied"),
        *("recipe", "epochs", "own_length", "images_seen", "network_size", "normalise"),
        *("initial_weights", "precision", "device_class", "training_code"),
        *("search_trials", "search_images", "search_score", *DATA_FIELDS),
        *("printed", "difference", "incomparable", "reason", *(name for name, _ in table.facts)),
    ]
    target = io.StringIO()
    writer = csv.DictWriter(target, fields, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for entry in row.entries:
            facts = {"table": table.name, "row": row.label, **dict(row.facts), **dict(table.facts)}
            writer.writerow(facts | _csv_entry(entry))
    return target.getvalue()


def _csv_entry(entry: Entry) -> dict[str, object]:
    column = entry.column
    training = entry.training.facts() if entry.training else {}
    return {
        **training,
        **dict(entry.data),
        "train": column.train if column else "",
        "test": column.test if column else "",
        "subset": column.subset if column else "",
        "metric": entry.metric,
        "value": _number(entry.value),
        "sd": _number(entry.sd),
        "seeds": " ".join(map(str, entry.seeds)),
        "cases": "" if entry.cases is None else entry.cases,
        "empty": "" if entry.empty is None else entry.empty,
        "mark": entry.mark,
        "tied": "yes" if entry.tied else "",
        "printed": entry.printed or "",
        "difference": _number(entry.difference),
        "incomparable": entry.incomparable or "",
        "reason": entry.reason or "",
    }


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


# ---- files

FORMATS: dict[str, Callable[[Table], str]] = {
    "md": to_markdown,
    "tex": to_latex,
    "csv": to_csv,
}


def write_tables(tables: Sequence[Table], folder: Path, suffix: str = "") -> list[Path]:
    """Write every table as <name>.md, .tex and .csv, and all of them as all-tables.tex.

    suffix: of a narrowed report; it follows each name, so that no fuller table is overwritten.
    """
    paths = []
    for table in tables:
        for ending, render in FORMATS.items():
            path = folder / f"{table.name}{suffix}.{ending}"
            write_text(path, render(table))
            paths.append(path)
    if tables:
        document = folder / f"all-tables{suffix}.tex"
        write_text(document, to_latex_document(tables))
        paths.append(document)
    return paths
