"""Tables of what benchmarks/gpu.sh ran: `python benchmarks/gpu_tables.py WORK --out results/measured`.

WORK: its folder of cells and times. One table has the seconds of each method's epoch, eager,
compiled and in contiguous layout; the other the cells per hour, one at a time and packed.
"""

import argparse
from pathlib import Path

from bench.core.devices import device_name
from bench.core.files import write_text
from bench.experiments.cells import CellRecord, load_cells

WAYS = ("eager", "compiled", "contiguous")
PACKINGS = ("one-at-a-time", "packed")


def epoch_seconds(record: CellRecord) -> str:
    """Seconds of the training, or why there are none."""
    if record.status != "done":
        return record.status
    return f"{record.provenance['train_seconds']:.1f}"


def whole_losses(record: CellRecord) -> str:
    """In how many calls of the loss a single compiled graph ran."""
    fact = record.provenance.get("compiled", {}).get("loss")
    return f"{fact['graphs_per_call'].get('1', 0)} of {fact['calls']}" if fact else "-"


def epochs_table(work: Path) -> list[str]:
    """A row per method: seconds of its epoch in each way, and how much of it was compiled."""
    found = {
        way: {record.key.method: record for record in load_cells(work / way / "cells")}
        for way in WAYS
    }
    lines = [
        f"| method | {' s | '.join(WAYS)} s | losses in one graph |",
        "|---|" + "---|" * (len(WAYS) + 1),
    ]
    for method in sorted({name for cells in found.values() for name in cells}):
        records = [found[way].get(method) for way in WAYS]
        cells = ["not run" if record is None else epoch_seconds(record) for record in records]
        compiled = found["compiled"].get(method)
        whole = "-" if compiled is None else whole_losses(compiled)
        lines.append(f"| {method} | {' | '.join(cells)} | {whole} |")
    return lines


def packing_table(work: Path) -> list[str]:
    """Cells per hour of each packing that ran to its end."""
    times = work / "times.tsv"
    rows = [line.split("\t") for line in times.read_text().splitlines()] if times.is_file() else []
    seconds = {name: int(value) for name, value in rows}
    lines = ["| packing | cells | seconds | cells per hour |", "|---|---|---|---|"]
    for name in PACKINGS:
        count = sum(record.status == "done" for record in load_cells(work / name / "cells"))
        took = seconds.get(name)
        rate = f"{3600 * count / took:.0f}" if took else "-"
        lines.append(f"| {name} | {count} | {took or 'not finished'} | {rate} |")
    return lines


def main() -> None:
    """Print both tables and store them, named after the device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    text = "\n".join(
        [
            f"One epoch of 160 phantoms, validation included, on {device_name(asked.device)}.",
            "",
            *epochs_table(asked.work),
            "",
            "Sixteen cells of that size; starting the workers is included.",
            "",
            *packing_table(asked.work),
        ]
    )
    print(text)
    write_text(asked.out / f"epochs-{asked.device.replace(':', '')}.md", text + "\n")


if __name__ == "__main__":
    main()
