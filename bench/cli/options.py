"""Options that several commands share, and reading their values."""

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from bench.core.errors import BenchError
from bench.core.reading import parse_json, require_folder
from bench.experiments.matrices import Overrides
from bench.protocols import Profile, Protocol, get_profile, get_protocol
from bench.reporting.published import load_edition

if TYPE_CHECKING:
    from bench.reporting.tables.narrowing import Narrowing

console = Console()
if not console.is_terminal:
    console = Console(width=132)  # a log or a pipe has no width; tables need room


MAX_SEEDS = 1000
MAX_SEED = 2**32 - 1  # what every random generator in use takes


def _known_edition(name: str | None) -> str | None:
    if name is not None:
        load_edition(name)
    return name


def _folder(path: Path) -> Path:
    return require_folder(path, "folder of results")


Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of prepared datasets. Default: $GMS_BENCH_DATA."),
]
Out = Annotated[
    Path, typer.Option("--results", "--out", callback=_folder, help="Folder of results.")
]
MatrixName = Annotated[str, typer.Option("--matrix", "-m", help="Name or .toml file.")]
OfProfile = Annotated[str | None, typer.Option("--profile", help="Only cells of this profile.")]
OfProtocol = Annotated[str | None, typer.Option("--protocol", help="Only cells of this protocol.")]
OfSelection = Annotated[str | None, typer.Option("--selection", help="Only cells of this rule.")]
OfSize = Annotated[int | None, typer.Option("--image-size", help="Only cells of this size.")]
OfLength = Annotated[
    str | None,
    typer.Option("--epochs", help="Only cells of this length; own: of their recipes' lengths."),
]
OfMethods = Annotated[str | None, typer.Option("--methods", help="Only these, comma-separated.")]
OfDatasets = Annotated[
    str | None, typer.Option("--datasets", help="Only these training datasets, comma-separated.")
]
OfSeeds = Annotated[str | None, typer.Option("--seeds", help="Only these: 0,1,2 or 0-4.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file that defines SPEC; repeatable."),
]
Cards = Annotated[
    list[Path] | None, typer.Option("--card", help="Dataset card of your own; repeatable.")
]
Published = Annotated[
    str | None,
    typer.Option(
        callback=_known_edition, help="Show an edition's numbers beside: aaai2025 or arxiv-v1."
    ),
]
Grid = Annotated[Literal["network", "native"], typer.Option(help="Where scores are taken.")]
Subset = Literal["test", "all"]
ForeignSubset = Annotated[Subset, typer.Option("--subset", help="Foreign test cases.")]
Split = Literal["default", "listed", "published", "imported", "random80", "grouped", "dedup"]
Precision = Literal["fp32", "bf16"]
Tf32 = Literal["off", "convolution", "all"]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Format = Annotated[
    Literal["auto", "terminal", "markdown", "csv"],
    typer.Option("--format", help="Of printed tables. auto: markdown where no terminal is."),
]
GiveUp = Annotated[
    float, typer.Option("--give-up", min=1, help="Seconds after which a step is given up.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def counted(count: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def names(text: str | None) -> tuple[str, ...]:
    """The names in a comma-separated option."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def listed(option: str, text: str | None) -> tuple[str, ...]:
    """The names in an option; () where it is not given, BenchError where it is given empty."""
    found = names(text)
    if text is not None and not found:
        raise BenchError(f"{option} {text!r} names nothing. Name some, or leave {option} out.")
    return found


def key_filters(
    profile: str | None, protocol: str | None, selection: str | None, image_size: int | None
) -> dict[str, str | int | None]:
    """What stored cells are chosen by; None keeps every value. profile: its name, or FILE.toml:NAME
    as `bench run` takes it."""
    return {
        "profile": profile and profile.rpartition(":")[2],
        "protocol": protocol,
        "selection": selection,
        "image_size": image_size,
    }


def narrowing(
    methods: str | None, datasets: str | None, seed_text: str | None, epochs: str | None
) -> "Narrowing":
    """The part of the stored cells that a report or a comparison is on."""
    from bench.reporting.tables.narrowing import Narrowing

    if epochs is not None and epochs != "own" and not epochs.isdigit():
        raise BenchError(f"--epochs {epochs!r}: write a number of epochs, or own.")
    return Narrowing(
        listed("--methods", methods),
        listed("--datasets", datasets),
        seeds(seed_text) if seed_text is not None else (),
        epochs,
    )


def cases(text: str | None) -> dict[str, tuple[str, ...]]:
    """Dataset -> case ids, of `glas:testA_12,glas:testA_13,busi:benign (3)`."""
    found: dict[str, tuple[str, ...]] = {}
    for word in listed("--cases", text):
        dataset, colon, case = (part.strip() for part in word.partition(":"))
        if not (dataset and colon and case):
            raise BenchError(f"--cases {word[:60]!r}: write DATASET:CASE, such as glas:testA_12.")
        found[dataset] = (*found.get(dataset, ()), case)
    return found


def devices(text: str) -> tuple[str, ...]:
    """The devices in `auto`, `cpu`, `cuda` or `cuda:0,cuda:1`; BenchError for any other name.

    `auto` is every GPU that is visible, the CPU where there is none. torch is not asked: a run with
    nothing to train does without it.
    """
    found = (visible_gpus() or ("cpu",)) if text == "auto" else names(text)
    for name in found or ("",):
        if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
            raise BenchError(f"--device {name!r}: write auto, cpu, mps, cuda or cuda:0,cuda:1.")
    return found


def visible_gpus() -> tuple[str, ...]:
    """`cuda:0`, `cuda:1`, ...: the GPUs that a process sees; ("cuda",) where their driver does not
    answer, which torch then explains."""
    if shutil.which("nvidia-smi") is None:
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        count = len([name for name in names(chosen) if name != "-1"])
    else:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if listing.returncode:
            return ("cuda",)
        count = sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
    return tuple(f"cuda:{number}" for number in range(count))


def require_devices(found: Iterable[str]) -> None:
    """BenchError for a GPU that torch does not see."""
    asked = [name for name in found if name != "cpu"]
    if not asked:
        return
    import torch

    if "mps" in asked and not torch.backends.mps.is_available():
        raise BenchError("--device mps: torch sees no Apple GPU here. Use --device cpu.")
    there = torch.cuda.device_count()
    for name in asked:
        if name == "mps":
            continue
        if int(name.partition(":")[2] or 0) >= there:
            raise BenchError(
                f"--device {name}: torch sees {there} CUDA devices here. Give another, use "
                "--device cpu, or install the CUDA build of torch."
            )


def one_device(text: str) -> str:
    """The single device of a command that uses one, the first of `auto`; BenchError unless it is at
    hand."""
    found = devices(text)[:1] if text == "auto" else devices(text)
    if len(found) != 1:
        raise BenchError(f"--device {text!r}: this command uses one device.")
    require_devices(found)
    return found[0]


def seeds(text: str) -> tuple[int, ...]:
    """Seeds of `0,1,2` or `0-4`; at most MAX_SEEDS of them, each at most MAX_SEED."""
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    ranges: list[range] = []
    for part in names(text):
        first, dash, last = part.partition("-")
        try:
            ranges.append(range(int(first), int(last if dash else first) + 1))
        except ValueError as error:
            raise BenchError(f"--seeds {shown!r}: write numbers like 0,1,2 or 0-4.") from error
    count = sum(max(0, part.stop - part.start) for part in ranges)  # len() has a limit
    if not count:
        raise BenchError(f"--seeds {shown!r} names no seed. Write numbers like 0,1,2 or 0-4.")
    if count > MAX_SEEDS:
        raise BenchError(f"--seeds {shown!r}: {count} seeds; at most {MAX_SEEDS} run at a time.")
    if max(part.stop for part in ranges) > MAX_SEED + 1:
        raise BenchError(f"--seeds {shown!r}: a seed is at most {MAX_SEED}. Write smaller ones.")
    return tuple(dict.fromkeys(itertools.chain(*ranges)))


def assignments(pairs: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(method settings, recipe changes) of `--set NAME=VALUE` and `--set recipe.NAME=VALUE`.

    A value is JSON where it reads as JSON (numbers, true, lists), else text.
    """
    settings: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        shown = pair if len(pair) <= 60 else f"{pair[:60]}..."
        if not equals or not name.removeprefix("recipe."):
            raise BenchError(f"--set {shown!r}: write NAME=VALUE or recipe.NAME=VALUE.")
        try:
            value = parse_json(text)
        except json.JSONDecodeError:
            value = text
        except ValueError as error:
            raise BenchError(f"--set {shown}: {error}. Give another value.") from error
        if name.startswith("recipe."):
            recipe[name.removeprefix("recipe.")] = value
        else:
            settings[name] = value
    return settings, recipe


def choose_profile(name: str | None, data: Path | None, **changes: Any) -> Profile:
    """The named profile, else `paper` with a data folder and `demo` without one, changed."""
    profile = get_profile(name or ("demo" if data is None else "paper"))
    given = {key: value for key, value in changes.items() if value is not None}
    return Profile.model_validate(profile.model_dump() | given)


def choose_protocol(name: str, **changes: Any) -> Protocol:
    """The named protocol with the given fields changed; None leaves a field.

    With another split it is another protocol, and named so: tables may not mix the two.
    """
    protocol = get_protocol(name)
    given = {key: value for key, value in changes.items() if value is not None}
    split = given.get("split", protocol.split)
    if split != protocol.split:
        given["name"] = f"{protocol.name}-{split}"
        given["title"] = f"as {protocol.name}, over split {split}: {protocol.title}"
    return Protocol.model_validate(protocol.model_dump() | given)


def refuse_silent_phantoms(rules: Protocol, profile: str | None, data: Path | None) -> None:
    """BenchError where a protocol that repeats a release would run on phantoms unasked."""
    if rules.preset == "as-released" and profile is None and data is None:
        raise BenchError(
            f"Protocol {rules.name!r} repeats published runs and no data folder is named. Give "
            "--data DIR or set GMS_BENCH_DATA; for a run on phantoms ask for it: --profile demo."
        )


def refuse_two_lengths(epochs: int | None, budget: int | None) -> None:
    """BenchError for --epochs beside --budget: each sets the length of every run."""
    if epochs is not None and budget is not None:
        raise BenchError(
            f"--epochs {epochs} and --budget {budget} both set the length of every run. Give one."
        )


def overrides(
    methods: str | None,
    datasets: str | None,
    seed_text: str,
    tokenizer: str | None,
    assigned: list[str] | None,
    precision: Precision | None = None,
) -> Overrides:
    """The command line's narrowing of a matrix; `--methods all` is every registered method."""
    from bench.registry import plain_method_names

    settings, recipe = assignments(assigned)
    chosen = tuple(plain_method_names()) if methods == "all" else listed("--methods", methods)
    return Overrides(
        methods=chosen,
        datasets=listed("--datasets", datasets),
        seeds=seeds(seed_text),
        settings=settings,
        tokenizer=tokenizer,
        recipe=recipe,
        precision=precision,
    )
