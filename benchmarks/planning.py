"""How long planning takes: 100 cells over two prepared datasets of 10,000 cases, nothing imported.

    python benchmarks/planning.py

Prints seconds of a whole plan against an empty and against a filled results folder, how often
`index.json` was read, and whether torch was imported.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.data import prepared
from bench.data.prepared import Case, Index, content_hash, dump
from bench.experiments.cells import CellKey, CellRecord, CellRequest, TestSet
from bench.experiments.identity import Resolution, cell_id, training_inputs
from bench.experiments.runner import RunOptions, plan
from bench.experiments.sources import Sources
from bench.experiments.store import request_digest
from bench.protocols import get_profile, get_protocol
from bench.recipes import SHARED

DATASETS = ("busi", "ham10000")
CASES, SEEDS = 10_000, range(50)


def prepare(folder: Path, name: str) -> None:
    """An `index.json` of CASES made-up cases; planning reads nothing else."""
    cases = tuple(
        Case(
            id=f"case-{number:05d}", image=f"case-{number:05d}.png", group=f"group-{number // 2}",
            part=None, **{"class": None}, width=600, height=450, image_sha256=f"{number:064x}",
            mask_sha256=f"{number + 1:064x}",
        )
        for number in range(CASES)
    )  # fmt: skip
    index = Index(
        dataset=name, card_hash="c", layout="images-masks", mask_rule="> 127", warnings=(),
        content_hash=content_hash(cases), cases=cases,
    )  # fmt: skip
    (folder / name).mkdir(parents=True)
    (folder / name / "index.json").write_text(dump(index))


def requests() -> list[CellRequest]:
    """One cell per dataset and seed."""
    profile, protocol = get_profile("paper"), get_protocol("clean")
    return [
        CellRequest(
            method="unet", train=name, tests=(TestSet(dataset=name),), seed=seed,
            protocol=protocol, profile=profile,
        )
        for name in DATASETS
        for seed in SEEDS
    ]  # fmt: skip


def store(request: CellRequest, sources: Sources, cells: Path) -> None:
    """A finished cell of the request without files."""
    key = CellKey(
        method="unet", settings={"base_channels": 64}, changed={}, tokenizer=None,
        train=request.train, protocol="clean", selection="best-val", recipe="shared",
        seed=request.seed, profile="paper", epochs=SHARED.epochs, image_size=224,
    )  # fmt: skip
    resolution = Resolution(
        key=key,
        recipe=SHARED,
        network_size=224,
        title="UNet",
        family="CNN",
        initial_weights="random",
    )
    inputs = training_inputs(request, resolution, sources)
    record = CellRecord(
        id=cell_id(key, inputs), status="done", key=key, request=request_digest(request),
        inputs=inputs, recipe=SHARED.model_dump(mode="json"), network_size=224, title="UNet",
        family="CNN",
    )  # fmt: skip
    record.write(cells / record.id)


def timed_plan(folder: Path) -> tuple[float, int, dict[str, int]]:
    """(seconds, times index.json was read, tasks by state)."""
    reads = 0
    read = prepared.read_records

    def counted(place: Path):
        nonlocal reads
        reads += 1
        return read(place)

    prepared.read_records = counted
    started = time.perf_counter()
    sources = Sources(get_profile("paper"), folder / "data", [])
    options = RunOptions(folder / "results", folder / "data", (), ("cpu",), 1)
    tasks = plan(requests(), options, sources)
    seconds = time.perf_counter() - started
    prepared.read_records = read
    states = [task.state for task in tasks]
    return seconds, reads, {state: states.count(state) for state in sorted(set(states))}


def main() -> None:
    """Print the two plans."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dataset in DATASETS:
            prepare(folder / "data", dataset)
        print(f"{len(requests())} cells, {len(DATASETS)} datasets of {CASES:,} cases")
        for label in ("empty results folder", "100 stored cells"):
            seconds, reads, states = timed_plan(folder)
            print(f"{label}: {seconds:.2f} s, index.json read {reads} times, {json.dumps(states)}")
            sources = Sources(get_profile("paper"), folder / "data", [])
            for request in requests():
                store(request, sources, folder / "results" / "cells")
        print(f"torch imported: {'torch' in sys.modules}")


if __name__ == "__main__":
    main()
