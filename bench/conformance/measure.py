"""The efficiency page: what each method costs on the machine at hand, measured in one run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bench.conformance.describe import IMAGE_SIDE
from bench.conformance.matrix_time import paper_matrix
from bench.core.devices import device_name
from bench.core.files import write_json, write_text
from bench.core.provenance import environment, now
from bench.recipes import SHARED
from bench.registry import get_method, plugin_files, require_method

SECONDS = 10.0  # budget of each of a method's three measurements, after warm-up
TIMEOUT = 1800.0  # seconds for one method

FORMS = {
    "released": "form released: the tokenizer as published, images and masks encoded in every step, fp32",
    "project": "form project: the decoder restructured, latents stored before the step",
}
"""Forms in which a method on a tokenizer is measured -> what a footnote says of them."""

COLUMNS: dict[str, tuple[str, float, int]] = {
    "trainable_params": ("trainable, M", 1e-6, 3),
    "total_params": ("total, M", 1e-6, 3),
    "gmacs": ("GMACs", 1, 3),
    "latency_ms_1": ("latency, batch 1, ms", 1, 1),
    "latency_ms_8": ("latency, batch 8, ms", 1, 1),
    "train_images_per_second": ("training images/s", 1, 2),
    "inference_memory_bytes": ("peak memory, inference, GB", 1e-9, 2),
    "train_memory_bytes": ("peak memory, training, GB", 1e-9, 2),
}
"""Column -> (header in print, factor, decimals)."""


def measure_methods(
    names: Iterable[str],
    device: str = "cpu",
    image_size: int = IMAGE_SIDE,
    precision: str = "fp32",
    train_batch: int = SHARED.batch_size,
    seconds: float = SECONDS,
    timeout: float = TIMEOUT,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> pd.DataFrame:
    """One row per method, each measured in its own process, one after another; two rows for a method
    on a tokenizer, in the forms of `FORMS`.

    Columns: method, form ("" for methods without a tokenizer), title, the keys of `COLUMNS` in their units (counts, 1e9 multiply-accumulates,
    ms, images/s, bytes), network_side (px), inference ("predict", or one "predict_step" of it),
    baseline_memory_bytes (of the process before the method is built), device, threads, precision,
    train_batch (images of a training step), remarks. Parameters, time and memory include the paper
    profile's tokenizer. Latency is a median after warm-up; a training step runs forward, backward
    and the shared recipe's optimizer, in the memory layout of the paper profile. Weights are random.
    On a CPU, peak memory is the process's; on a GPU, torch's.
    seconds: budget of each measurement. A method that fails, runs out of memory or exceeds
    `timeout` keeps its row, with the reason in `remarks`.
    Raises BenchError for an unknown name, before anything is measured.
    """
    wanted = list(names)
    for name in wanted:
        require_method(name)
    job = {
        "device": device,
        "side": image_size,
        "precision": precision,
        "train_batch": train_batch,
        "seconds": seconds,
        "plugins": [str(file) for file in plugin_files()],
    }
    rows = []
    for name in wanted:
        for form in FORMS if get_method(name).tokenizer else ("",):
            row = _one(job | {"method": name, "form": form}, timeout)
            rows.append(row)
            on_row(row)
    return pd.DataFrame(rows)


def _one(job: dict[str, Any], timeout: float) -> dict[str, Any]:
    measured = _in_own_process(job, timeout)
    remarks = measured.pop("remarks")
    columns = dict.fromkeys(("title", *COLUMNS, "network_side", "inference"))
    head = {"method": job["method"], "form": job["form"], **columns, "baseline_memory_bytes": None}
    tail = {
        "device": job["device"],
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "precision": "fp32" if job["form"] == "released" else job["precision"],
        "train_batch": job["train_batch"],
        "remarks": "; ".join(remarks),
    }
    return head | measured | tail


def _in_own_process(job: dict[str, Any], timeout: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.conformance.measure_worker"]
    try:
        done = subprocess.run(
            command,
            check=False,  # a row says how it failed
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as late:
        written = late.stdout or b""
        text = written.decode() if isinstance(written, bytes) else written
        return _row_of(text, f"not finished after {timeout:g} s")
    if done.returncode != 0:
        return _row_of(done.stdout, _how_it_failed(done.returncode, done.stderr))
    return _row_of(done.stdout)


def _row_of(output: str, failure: str = "") -> dict[str, Any]:
    """The row that a worker reported in whole lines, and how the worker failed after that."""
    row: dict[str, Any] = {"remarks": []}
    for line in output.splitlines(keepends=True):
        row |= json.loads(line) if line.endswith("\n") else {}
    row["remarks"] += [failure] if failure else []
    return row


def _how_it_failed(code: int, output: str) -> str:
    if code == -signal.SIGKILL:
        return "killed, most often for want of memory: a smaller --train-batch needs less"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    lines = output.strip().splitlines()
    return lines[-1] if lines else f"exit status {code}"


def write_efficiency(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the page into `folder` as Markdown, CSV, provenance (JSON) and a figure (PNG, PDF).

    Files are named after the device and each appears whole; returns their paths. `bench run
    --estimate` reads the CSV of its results folder.
    """
    stem = "efficiency-" + str(frame["device"].iloc[0]).replace(":", "")
    write_text(folder / f"{stem}.md", to_markdown(frame))
    write_text(folder / f"{stem}.csv", frame.to_csv(index=False))
    facts = _conditions(frame) | {"paper_matrix": asdict(paper_matrix(frame))}
    write_json(folder / f"{stem}.json", environment() | {"measured": now()} | facts)
    written = [folder / f"{stem}.{kind}" for kind in ("md", "csv", "json")]
    return [*written, *_draw(frame, folder, stem)]


def row_in_words(row: dict[str, Any]) -> str:
    """A line on one row: what was measured, and the remarks where there are any."""
    said = [
        f"{header} {_cell(row[column], factor, decimals)}"
        for column, (header, factor, decimals) in COLUMNS.items()
        if not pd.isna(row[column])
    ]
    return f"{_label(row)}: " + "; ".join(said + ([row["remarks"]] if row["remarks"] else []))


def _conditions(frame: pd.DataFrame) -> dict[str, Any]:
    first = frame[frame["form"] != "released"].iloc[0]
    return {
        "device": str(first["device"]),
        "device_name": device_name(str(first["device"])),
        "threads": int(first["threads"]),
        "precision": str(first["precision"]),
        "train_batch": int(first["train_batch"]),
    }


def to_markdown(frame: pd.DataFrame) -> str:
    """The table, with the conditions and every method's remarks below it."""
    headers = ["method", *(header for header, _, _ in COLUMNS.values())]
    lines = ["| " + " | ".join(headers) + " |", "|---" + "|---:" * len(COLUMNS) + "|"]
    footnotes = []
    for row in frame.to_dict("records"):
        footnote = _footnote(row)
        footnotes += [footnote] if footnote else []
        mark = f" [{len(footnotes)}]" if footnote else ""
        cells = [_cell(row[column], *form[1:]) for column, form in COLUMNS.items()]
        lines.append(f"| {_label(row)}{mark} | " + " | ".join(cells) + " |")
    where = _conditions(frame)
    conditions = (
        f"Device: {where['device_name']}, {where['threads']} threads, {where['precision']}. "
        "Weights are random. Counts, times and memory include frozen parts (the tokenizer of "
        "the method's authors). Latency: median after warm-up. Training: steps of "
        f"{where['train_batch']} images."
    )
    lines += ["", conditions, "", paper_matrix(frame).words]
    lines += [f"\n[{number}] {text}" for number, text in enumerate(footnotes, start=1)]
    return "\n".join(lines) + "\n"


def _footnote(row: dict[Any, Any]) -> str:
    """What a reader must know of this row: partial inference, another size, missing numbers."""
    said = [FORMS[row["form"]]] if row["form"] else []
    said += [str(row["remarks"])] if row["remarks"] else []
    if row["inference"] == "predict_step":
        said.append("GMACs and latency are of one step of several that a prediction takes")
    side = row["network_side"]
    if not pd.isna(side) and int(side) != IMAGE_SIDE:
        said.append(f"the network sees {int(side)} px")
    return f"{_label(row)}: {'; '.join(said)}." if said else ""


def _label(row: dict[Any, Any]) -> str:
    title = str(row["method"] if pd.isna(row["title"]) else row["title"])
    return f"{title}, as released" if row["form"] == "released" else title


def _cell(value: Any, factor: float, decimals: int) -> str:
    return "–" if pd.isna(value) else f"{value * factor:,.{decimals}f}"


def _draw(frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Latency, throughput and memory per method, each with its number; gaps are said so.

    Points, not bars: a bar's length means nothing on a logarithmic axis.
    """
    from bench.reporting.plots.style import COLOURS, MARKERS, new_figure, save, styled

    panels = ("latency_ms_1", "train_images_per_second", "train_memory_bytes")
    labels = [_label(row) for row in frame.to_dict("records")]
    where = _conditions(frame)
    with styled():
        title = (
            f"Efficiency on {where['device_name']}, {where['threads']} threads, "
            f"{where['precision']}, training steps of {where['train_batch']} images, random weights"
        )
        figure = new_figure(9, 0.8 + 0.22 * len(frame), title)
        axes = figure.subplots(1, len(panels), sharey=True)
        for axis, column, colour, marker in zip(axes, panels, COLOURS, MARKERS, strict=False):
            header, factor, decimals = COLUMNS[column]
            values = pd.to_numeric(frame[column]) * factor
            axis.set_xscale("log")
            axis.plot(values, range(len(labels)), marker, color=colour)
            for position, value in enumerate(values):
                gap = pd.isna(value)
                axis.annotate(
                    "not measured" if gap else f"{value:,.{decimals}f}",
                    (0 if gap else value, position),
                    xycoords=axis.get_yaxis_transform() if gap else "data",
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                )
            axis.margins(x=0.25)  # room for the numbers beside the points
            axis.xaxis.set_major_formatter("{x:,g}")
            axis.xaxis.set_minor_formatter("")
            axis.set_xlabel(header)
        axes[0].set_yticks(range(len(labels)), labels)
        axes[0].invert_yaxis()
        return save(figure, folder, name)
