"""GMS's training step over an autoencoder of SD-VAE's size: ms per image, operations, waits.

    python benchmarks/gms_ms_per_image.py [--device cuda] [--batch 8] [--size 224] [--out DIR]

Weights are random: time does not depend on their values. Latents are cached. Operations are counted
by torch (matrix products and convolutions, forward and backward), in TFLOP per image; the rate is
theirs over the measured time. Waits of the host in a step are those that CUDA reports.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Batch
from bench.core.devices import device_name
from bench.core.files import write_text
from bench.recipes import SHARED
from bench.tokenizers.autoencoders import KLTokenizer
from bench.tokenizers.builtin import SD_VAE_CONFIG
from bench.training.engine import Engine, wait_for
from bench.training.optimizer import make_optimizer
from methods.gms import GMS, GMSSettings

HEADS = {"three decodes": "multi", "one decode": "out"}
WARM_UP = 3


def stepping(heads: str, engine: Engine, batch: int, size: int) -> Callable[[], None]:
    """A training step of GMS on random pictures, its optimizer included."""
    torch.manual_seed(0)
    vae: AutoencoderKL = AutoencoderKL.from_config(SD_VAE_CONFIG)
    tokenizer = KLTokenizer(vae.requires_grad_(False).eval())
    method = engine.place(GMS(GMSSettings(supervision=HEADS[heads]), tokenizer)).train()
    tokenizer.to(engine.device)
    optimizer = make_optimizer(method, SHARED)
    images = engine.place(torch.rand(batch, 3, size, size))
    masks = (torch.rand(batch, 1, size, size) > 0.5).float().to(engine.device)
    with torch.no_grad():
        latents = [tokenizer.encode(x) for x in (images, masks.expand(-1, 3, -1, -1))]

    def step() -> None:
        with engine.autocast():
            loss = method.loss(Batch(images, masks, *latents))["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def milliseconds(step: Callable[[], None], device: torch.device, rounds: int) -> float:
    """Median of `rounds` steps after a warm-up."""
    times = []
    for _ in range(WARM_UP + rounds):
        wait_for(device)
        started = time.perf_counter()
        step()
        wait_for(device)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times[WARM_UP:])


def teraflop(step: Callable[[], None]) -> float:
    """Operations of one step, in 10^12."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e12


def waits(step: Callable[[], None], device: torch.device) -> str:
    """How often the host waited for the GPU in one step; "-" on other devices."""
    if device.type != "cuda":
        return "-"
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return str(sum("synchroniz" in str(warning.message) for warning in found))


def main() -> None:
    """Measure both forms of the loss in bf16, print the table, and store it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    engine = Engine(device, "bf16", channels_last=True)
    conditions = f"{asked.size} px, batch {asked.batch}, bf16, cached latents"
    rows = [
        f"GMS's training step on {device_name(device)}: {conditions}, torch {torch.__version__}.",
        "",
        "| loss | ms per image | TFLOP per image | TFLOP/s | waits per step |",
        "|---|---|---|---|---|",
    ]
    for heads in HEADS:
        step = stepping(heads, engine, asked.batch, asked.size)
        each = milliseconds(step, device, asked.rounds) / asked.batch
        work = teraflop(step) / asked.batch
        rows.append(
            f"| {heads} | {each:.2f} | {work:.3f} | {1e3 * work / each:.1f} | {waits(step, device)} |"
        )
    text = "\n".join(rows) + "\n"
    print(text)
    if asked.out is not None:
        write_text(asked.out / f"gms-step-{asked.device.replace(':', '')}.md", text)


if __name__ == "__main__":
    main()
