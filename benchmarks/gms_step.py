"""A training step of GMS over an autoencoder of SD-VAE's size: the released form beside ours.

    OMP_NUM_THREADS=2 python benchmarks/gms_step.py [--rounds 3] [--size 224] [--batch 2]

Weights are random: time does not depend on their values. `released` restates the released code in
plain diffusers and torch: image and mask are encoded in the step, one after the other, and every
supervised head is decoded to three colours, in fp32. The other rows are this package's own code:
the tokenizer as it is loaded, `GMS.loss` on cached latents, the numerics of a cell's engine.

Every round runs every form once; ratios are taken within a round and their median is printed, so
that a machine that is slow for a while is slow for both. Seconds are of the clock and of the CPU.
The cosine is that of the gradient of the mapping model's parameters with the one of the same loss
in the released form. The optimizer's step, equal in all forms, is left out.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from bench.contracts import Batch, Tokenizer
from bench.tokenizers.autoencoders import KLTokenizer
from bench.tokenizers.builtin import SD_VAE_CONFIG
from bench.tokenizers.half import HalfTokenizer
from bench.training.engine import Engine
from bench.training.losses import soft_dice_loss
from methods.gms import GMS, GMSSettings

GOALS = {"three": 5.0, "one": 16.0}
LEAST_COSINE = 0.999
SEED = 0


@dataclass(frozen=True)
class Step:
    """A form of the step: its name, how many heads it decodes, and what runs it."""

    name: str
    heads: str
    run: Callable[[], Tensor]
    method: GMS


def autoencoder() -> AutoencoderKL:
    """SD-VAE's network with random weights, the same at every call."""
    torch.manual_seed(SEED)
    model: AutoencoderKL = AutoencoderKL.from_config(SD_VAE_CONFIG)
    return model.requires_grad_(False).eval()


def gms(tokenizer: Tokenizer, heads: str) -> GMS:
    """GMS whose mapping model has the same random weights at every call with the same heads."""
    torch.manual_seed(SEED)
    return GMS(GMSSettings(supervision="multi" if heads == "three" else "out"), tokenizer)


def released(model: AutoencoderKL, method: GMS, images: Tensor, masks: Tensor) -> Tensor:
    """The loss as the released code computes it."""
    scale = model.config.scaling_factor
    with torch.no_grad():
        image_latents = model.encode(images * 2 - 1).latent_dist.mean * scale
        mask_latents = model.encode(masks.repeat(1, 3, 1, 1) * 2 - 1).latent_dist.mean * scale
    outputs = method.mapping(image_latents)
    loss = torch.zeros(())
    for name in method.supervised:
        decoded = model.decode(outputs[name] / scale).sample
        probs = ((decoded.mean(1, keepdim=True) + 1) / 2).clamp(0, 1)
        loss = loss + F.mse_loss(outputs[name], mask_latents) + soft_dice_loss(probs, masks)
    return loss


def ours(method: GMS, batch: Batch, autocast: Callable[[], AbstractContextManager]) -> Tensor:
    """The loss as a cell trains on it."""
    with autocast():
        return method.loss(batch)["loss"]


def timed(step: Step) -> tuple[float, float]:
    """Seconds of forward and backward pass, (by the clock, of the CPU)."""
    step.method.zero_grad(set_to_none=True)
    started, used = time.perf_counter(), time.process_time()
    step.run().backward()
    return time.perf_counter() - started, time.process_time() - used


def gradient(step: Step) -> Tensor:
    """The last step's gradient of all parameters of the mapping model, float64 (n,)."""
    grads = [p.grad for p in step.method.mapping.parameters()]
    return torch.cat([g.flatten() for g in grads if g is not None]).double()


def forms(images: Tensor, masks: Tensor) -> list[Step]:
    """All forms, the released ones first."""
    steps = []
    plain = autoencoder()
    tokenizer = KLTokenizer(autoencoder())
    tokenizer.restructure()
    half = HalfTokenizer(tokenizer)
    with torch.no_grad():
        latents = tokenizer.encode(torch.cat([images, masks.expand(-1, 3, -1, -1)])).chunk(2)
    fp32, bf16 = (
        Engine(torch.device("cpu"), name, channels_last=True) for name in ("fp32", "bf16")
    )
    for heads in ("three", "one"):
        method = gms(tokenizer, heads)
        steps.append(
            Step(
                "released form, fp32",
                heads,
                partial(released, plain, method, images, masks),
                method,
            )
        )
        for name, used, engine in (
            ("ours, fp32", tokenizer, fp32),
            ("ours, bf16 by autocast", tokenizer, bf16),
            ("ours, bf16 weights", half, bf16),
        ):
            method = engine.place(gms(used, heads))
            batch = Batch(engine.place(images), masks, *latents)
            steps.append(Step(name, heads, partial(ours, method, batch, engine.autocast), method))
    return steps


def main() -> int:
    """Print a line per form; 1 if a gradient of ours points elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    images = torch.rand(options.batch, 3, options.size, options.size)
    masks = torch.zeros(options.batch, 1, options.size, options.size)
    masks[..., options.size // 4 : options.size // 2, options.size // 4 :] = 1
    steps = forms(images, masks)
    spent: list[list[tuple[float, float]]] = [[] for _ in steps]
    cosines = [0.0] * len(steps)
    for round_ in range(options.rounds + 1):  # the first warms up, and gives the gradients
        for at, step in enumerate(steps):
            seconds = timed(step)
            if round_:
                spent[at].append(seconds)
                continue
            if step.name.startswith("released"):
                reference = gradient(step)
            cosines[at] = float(torch.cosine_similarity(gradient(step), reference, 0))
            step.method.zero_grad(set_to_none=True)
    print(
        f"{options.batch} images of {options.size} px, {torch.get_num_threads()} threads, "
        f"{options.rounds} rounds, torch {torch.__version__}"
    )
    print(
        f"{'form':24s} {'decodes':8s} {'clock, s':>9s} {'CPU, s':>8s} {'ratios':>15s} {'cosine':>9s}"
    )
    for step, times, cosine in zip(steps, spent, cosines, strict=True):
        clock, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        pairs = list(zip(spent[0], times, strict=True))
        by_clock, by_cpu = (
            statistics.median(base[at] / own[at] for base, own in pairs) for at in (0, 1)
        )
        ratios = f"{by_clock:.1f}x {by_cpu:.1f}x"
        print(
            f"{step.name:24s} {step.heads:8s} {clock:9.2f} {cpu:8.2f} {ratios:>15s} {cosine:9.6f}"
        )
    goals = ", ".join(f"{heads} {goal:g}x" for heads, goal in GOALS.items())
    print("ratios: to the released form with three decodes, by the clock and by the CPU's time.")
    print(f"Goals in bf16 by decodes: {goals}; cosine {LEAST_COSINE}.")
    return 0 if min(cosines) >= LEAST_COSINE else 1


if __name__ == "__main__":
    sys.exit(main())
