"""A new user's first hour: every journey through the command line, on phantoms and made-up images.

    python benchmarks/new_user.py --out FOLDER

Types the commands one after the other in FOLDER/work, keeps what each of them said in FOLDER/said,
and checks its exit status and the words that a user needs. Prints a row per command and ends with
status 1 where one of them is not as expected. A few minutes on two cores.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ON_CPU = "--profile smoke --device cpu --jobs 1"
CASES = 24


@dataclass(frozen=True)
class Step:
    """A command as typed. words: needed in what it says. until: a word of its output after which it
    gets Ctrl-C. before: prepares its files, or gives words to fill in as {}."""

    typed: str
    words: tuple[str, ...] = ()
    status: int = 0
    until: str = ""
    before: Callable[[Path], str | None] | None = None


def first_cell(work: Path) -> str:
    """The id of a stored EGE-UNet."""
    return next((work / "results" / "cells").glob("ege_unet-busi-*")).name


def gms_cell(work: Path) -> str:
    return next((work / "results" / "cells").glob("gms-busi-*")).name


def own_images(work: Path) -> None:
    """Grey discs on noise and their masks, as the card of `bench new dataset` expects them."""
    draws = np.random.default_rng(0)
    y, x = np.mgrid[:80, :96]
    for number in range(CASES):
        at, radius = draws.integers(25, 55, 2), draws.integers(8, 20)
        mask = (y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2
        image = draws.integers(0, 90, mask.shape) + 120 * mask
        for kind, pixels in (("images", image), ("masks", 255 * mask)):
            file = work / "pictures" / kind / f"case{number:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(file)


def with_plugin(work: Path) -> None:
    """The matrix file of `bench new matrix`, with the method of `bench new method` in it."""
    file = work / "mine.toml"
    file.write_text(file.read_text().replace('["unet", "ege_unet"]', '["ege_unet", "my_net"]'))


OWN = "--data data --card clinic.toml"

STEPS = (
    Step("bench", ("Usage", "run", "report"), status=2),
    Step("bench --help", ("Usage", "run", "report")),
    Step("bench run --help", ("--matrix", "--dry-run", "--estimate")),
    Step("bench list methods", ("gms", "unet")),
    Step("bench list tokenizers", ("tiny-kl", "sd-vae")),
    Step("bench list datasets", ("busi", "ham10000")),
    Step("bench list matrices", ("ablations", "paper")),
    Step("bench list protocols", ("clean", "grouped")),
    Step("bench list profiles", ("demo", "smoke")),
    Step("bench list mehtods", ("Did you mean 'methods'",), status=2),
    Step("bench list cells", ("no cell",)),
    Step("bench describe method gms", ("GMS", "epochs")),
    Step("bench describe dataset glas", ("GlaS",)),
    # ---- a first run
    Step(f"bench run --matrix ablations {ON_CPU} --datasets busi --dry-run", ("train", "Disk")),
    Step("bench run", ("What shall run? Give --matrix NAME",), status=2),
    Step(
        "bench run --matrix ablations --datasets bus --profile smoke", ("Did you mean 'busi'",),
        status=2,
    ),
    Step(
        f"bench run --train busi --test same,bus --methods ege_unet,gms --seeds 0-1 {ON_CPU} "
        "--estimate",
        ("0 of 4 cells are done, 4 to train", "Time:"),
    ),
    Step(
        f"bench run --train busi --test same,bus --methods ege_unet,gms --seeds 0-1 {ON_CPU}",
        ("cell 4 of 4", "done in", "Page:"),
    ),
    Step(
        f"bench run --train busi --test same,bus --methods ege_unet,gms --seeds 0-1 {ON_CPU}",
        ("4 of 4 cells are done.", "Page:"),
    ),
    # ---- stopping and resuming
    Step(
        f"bench run --train glas --methods ege_unet {ON_CPU} --epochs 12 --verbose",
        ("bench: stopped. 0 of 1 cells are stored, 1 more will resume; the same command goes on.",),
        status=130, until="epoch 2 of 12",
    ),
    Step("bench list cells --resumable", ("resumable",)),
    Step(
        f"bench run --train glas --methods ege_unet {ON_CPU} --epochs 12 --dry-run",
        ("resume at epoch",),
    ),
    Step(
        f"bench run --train glas --methods ege_unet {ON_CPU} --epochs 12",
        ("resumes at epoch", "done in"),
    ),
    # ---- finding
    Step("bench list cells", ("5 cells", "ege_unet")),
    Step("bench list cells --method gms --json", ('"method": "gms"',)),
    Step("bench list cells --method gsm", ("gsm", "gms"), status=2),
    Step("bench show {}", ("EGE-UNet", "means over busi-test", "dsc"), before=first_cell),
    Step("bench show {} --json", ('"scores"',), before=first_cell),
    Step("bench show nothing", ("bench list cells",), status=2),
    Step("bench rm --dataset glas", ("--yes",), status=2),
    Step("bench rm --dataset glas --yes", ("1 of 1 cells deleted",)),
    # ---- reading
    Step("bench report --matrix ablations", ("GMS trained with different losses", "files in")),
    Step("bench report --matrix in-domain --format terminal", ("EGE-UNet", "GMS")),
    Step("bench report --matrix in-domain --format markdown", ("| EGE-UNet", "| GMS")),
    Step("bench report --matrix in-domain --format csv", ("table,row",)),
    Step("bench report --matrix in-domain --methods gms", ("a part: methods gms",)),
    Step("bench report --matrix in-domain --html --grid native", ("Page:",)),
    Step(
        "bench report --matrix in-domain --html --cases busi:busi-phantom-0012", ("Page:",)
    ),
    Step("bench report --matrix in-domain --cases busi:phantom-12", ("Near:",), status=2),
    Step("bench compare --matrix in-domain", ("GMS", "Holm")),
    Step("bench claims aaai2025", ("claim",)),
    Step("bench claims aaai2025 --part claims --format markdown", ("|",)),
    # ---- checking
    Step("bench verify --all --quick", ("4 cells:", "Digest")),
    Step("bench verify {}", ("verified",), before=first_cell),
    # ---- data of one's own
    Step("bench new dataset clinic", ("clinic.toml",)),
    Step("bench check dataset clinic.toml", ("all is well",)),
    Step(
        "bench data prepare clinic --from pictures --card clinic.toml --data data",
        (f"{CASES} cases",), before=own_images,
    ),
    Step("bench data status --data data --card clinic.toml", (f"clinic: {CASES} images",)),
    Step(f"bench check dataset clinic.toml {OWN}", ("all is well",)),
    Step(f"bench audit clinic {OWN}", ("clinic",)),
    Step("bench new matrix mine", ("mine.toml",)),
    Step("bench new matrix mine", ("exists already",), status=2),
    Step(f"bench run --matrix mine.toml {ON_CPU} --dry-run", ("unet on busi",)),
    Step(
        f"bench run --train clinic --methods ege_unet {OWN} --image-size 64 "
        "--set recipe.image_size=64 --epochs 2 --device cpu --jobs 1",
        ("Clinic", "done in", "Page:"),
    ),
    # ---- a method and a tokenizer of one's own
    Step("bench new method my_net", ("bench_my_net.py",)),
    Step("bench check method my_net/bench_my_net.py", ("all is well",)),
    Step(
        f"bench run --matrix mine.toml {ON_CPU} --plugin my_net/bench_my_net.py",
        ("my_net on busi", "done in", "Page:"), before=with_plugin,
    ),
    Step("bench new tokenizer my-pixels", ("bench_my_pixels.py",)),
    Step("bench check tokenizer my-pixels --plugin bench_my_pixels.py", ("all is well",)),
    Step(
        "bench tokenizer eval my-pixels --plugin bench_my_pixels.py --masks pictures/masks "
        "--size 64",
        ("pictures per second",),
    ),
    Step("bench tokenizer eval tiny-vq --masks pictures/masks --size 64", ("pictures per second",)),
    Step("bench tokenizer ceiling", ("tiny-kl",)),
    # ---- using a cell
    Step(
        "bench predict {} pictures/images/case00.png pictures/images/case01.png --out masks",
        ("case00", "case01"), before=gms_cell,
    ),
    Step("bench predict {} pictures/nothing.png --out masks", ("nothing.png",), 2, before=gms_cell),
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """How a command ended. missing: needed words that it did not say."""

    typed: str
    seconds: float
    status: int
    out: str
    missing: tuple[str, ...]

    @property
    def first(self) -> str:
        """The first line that says something."""
        return next((line.strip() for line in self.out.splitlines() if line.strip()), "")


def typed(step: Step, work: Path, environment: dict[str, str]) -> Said:
    """Run a command as a user would, in a pipe."""
    filled = step.before(work) if step.before else None
    line = step.typed.replace("{}", filled or "")
    command = [sys.executable, "-m", "bench.cli", *shlex.split(line)[1:]]
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=work, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out, asked = "", False
    assert process.stdout is not None
    for said in process.stdout:
        out += said
        if step.until and not asked and step.until in said:
            process.send_signal(signal.SIGINT)
            asked = True
    status = process.wait()
    flat = re.sub(r"\s+", " ", out)
    missing = tuple(word for word in step.words if word not in flat)
    return Said(line, time.monotonic() - begun, status, out, missing)


def main() -> None:
    """Type all commands; print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--only", default="", help="steps from the first that holds these words")
    asked = parser.parse_args()
    work, kept = asked.out.resolve() / "work", asked.out.resolve() / "said"
    for folder in (work, kept):
        folder.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GMS_BENCH")}
    environment |= {"GMS_BENCH_CACHE": str(asked.out.resolve() / "cache")}
    begun = next(at for at, step in enumerate(STEPS) if asked.only in step.typed)
    wrong, total = [], 0.0
    print(f"{'seconds':>7} {'status':>6}  command, then its first line")
    for number, step in list(enumerate(STEPS))[begun:]:
        said = typed(step, work, environment)
        name = re.sub(r"[^a-z0-9]+", "-", step.typed.lower())[:50].strip("-")
        (kept / f"{number:02d}-{name}.txt").write_text(f"$ {said.typed}\n{said.out}")
        fine = said.status == step.status and not said.missing and "Traceback" not in said.out
        total += said.seconds
        print(f"{said.seconds:7.1f} {said.status:6}  {said.typed}{'' if fine else '   <-- WRONG'}")
        print(f"{'':16}{said.first[:100]}", flush=True)
        if not fine:
            wrong.append(number)
            print(f"{'':16}expected status {step.status}; missing words: {said.missing}")
    print(f"{len(STEPS) - begun} commands in {total:.0f} s, {len(wrong)} not as expected: {wrong}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
