"""Measures one method in a process of its own, so that its peak memory is its own.

Reads a job (JSON) from standard input and writes its row (JSON) to standard output: a line once the
method is built, has predicted and has trained, so that a kill costs only what came after. Run by
`bench.conformance.measure`. Weights are random: time and memory do not depend on their values.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.conformance.describe import IMAGE_SIDE, describe_method
from bench.contracts import Batch, BuildContext, LatentKind, Tokenizer
from bench.core.errors import BenchError
from bench.core.memory import peak_bytes, start_peak
from bench.method import Method
from bench.protocols import get_profile
from bench.recipes import SHARED
from bench.registry import get_method, use_plugin_files
from bench.tokenizers.half import HalfTokenizer
from bench.training.build import build_method, load_tokenizer
from bench.training.engine import Engine, wait_for
from bench.training.optimizer import make_optimizer

REPEATS = 30  # at most; fewer where the time budget ends


def measure(job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Report the row of one method after each stage; see `bench.conformance.measure`.

    job: method, form (see `bench.conformance.measure.FORMS`), device, precision, side (px),
    train_batch, seconds (budget of each measurement), plugins.
    """
    use_plugin_files(Path(file) for file in job["plugins"])
    facts = describe_method(job["method"])
    row: dict[str, Any] = {
        "title": facts.title,
        "trainable_params": facts.trainable_params,
        "total_params": facts.total_params,
        "gmacs": facts.gmacs_224 if job["side"] == IMAGE_SIDE else None,
        "inference": facts.inference,
        "remarks": [],
    }
    released = job["form"] == "released"
    precision = "fp32" if released else job["precision"]
    layout = get_profile("paper").channels_last and not released
    engine = Engine(torch.device(job["device"]), precision, layout)
    row["baseline_memory_bytes"] = peak_bytes(engine.device)
    torch.manual_seed(0)
    method, tokenizer, side = _build(job["method"], job["side"], engine, released)
    row["network_side"] = side
    report(row)

    def latency(size: int) -> float:
        return 1e3 * _latency(method, side, size, engine, job["seconds"])

    _try(row, "latency_ms_1", lambda: latency(1))
    _try(row, "latency_ms_8", lambda: latency(8))
    row["inference_memory_bytes"] = peak_bytes(engine.device)
    report(row)
    size = job["train_batch"]
    if not start_peak(engine.device):
        row["remarks"].append("this system gives one peak memory for inference and training")
    _try(
        row,
        "train_images_per_second",
        lambda: (
            size / _step_seconds(method, tokenizer, side, size, engine, job["seconds"], released)
        ),
    )
    row["train_memory_bytes"] = peak_bytes(engine.device)
    report(row)


def _try(row: dict[str, Any], name: str, action: Callable[[], float]) -> None:
    """Store a measurement, or None and a remark when memory does not suffice."""
    try:
        row[name] = action()
    except (torch.OutOfMemoryError, MemoryError) as error:
        row[name] = None
        row["remarks"].append(f"{name}: out of memory ({str(error).splitlines()[0][:120]})")


def _build(
    name: str, side: int, engine: Engine, released: bool
) -> tuple[Method, Tokenizer | None, int]:
    spec, profile = get_method(name), get_profile("paper")
    side = spec.size.fit(side)
    tokenizer = load_tokenizer(spec, spec.reference_tokenizer, profile.tokenizers, weights=False)
    if tokenizer is not None and not released:
        tokenizer.restructure()
        used = profile.model_copy(update={"precision": engine.precision})
        tokenizer = HalfTokenizer(tokenizer) if used.rounds_tokenizers else tokenizer
    context = BuildContext(side, tokenizer, load_weights=False)
    method = build_method(spec, spec.settings(), context, spec.recipe)
    if tokenizer is not None:
        tokenizer.to(engine.device)
    return engine.place(method), tokenizer, side


def _latency(method: Method, side: int, size: int, engine: Engine, budget: float) -> float:
    """Median seconds of one inference on `size` images."""
    images = engine.place(torch.rand(size, 3, side, side))
    method.eval()

    def once() -> None:
        with torch.inference_mode(), engine.autocast():
            method.predict_step(images)

    return _median_seconds(once, engine.device, budget)


def _step_seconds(
    method: Method,
    tokenizer: Tokenizer | None,
    side: int,
    size: int,
    engine: Engine,
    budget: float,
    encoding: bool,
) -> float:
    """Median seconds of a training step on `size` images: forward, backward, optimizer.

    encoding: whether each step encodes its latents; else they are there before.
    """
    method.train()
    optimizer = make_optimizer(method, SHARED)
    images = torch.rand(size, 3, side, side, device=engine.device)
    masks = torch.zeros(size, 1, side, side, device=engine.device)
    masks[..., : side // 4, : side // 4] = 1

    images = engine.place(images)
    stored = _batch(images, masks, tokenizer, method.latent_inputs)

    def once() -> None:
        with engine.autocast():
            batch = stored
            if encoding:
                batch = _batch(images, masks, tokenizer, method.latent_inputs)
            parts = method.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        optimizer.step()

    return _median_seconds(once, engine.device, budget)


def _batch(
    images: Tensor, masks: Tensor, tokenizer: Tokenizer | None, kinds: tuple[LatentKind, ...]
) -> Batch:
    """A training batch with the kinds of latents that the method reads."""
    batch = Batch(images, masks)
    if tokenizer is None:
        return batch
    with torch.no_grad():
        if "image" in kinds and tokenizer.has_posterior:
            batch.image_latents, batch.image_latents_std = tokenizer.posterior(images)
        elif "image" in kinds:
            batch.image_latents = tokenizer.encode(images)
        if "mask" in kinds:
            batch.mask_latents = tokenizer.encode(masks.expand(-1, 3, -1, -1))
    return batch


def _median_seconds(once: Callable[[], None], device: torch.device, budget: float) -> float:
    """Median over repeats within `budget` seconds, at least one, after two warm-up calls (one
    where that alone takes the budget)."""
    first = _timed(once, device)
    if first < budget:
        _timed(once, device)
    repeats = max(1, min(REPEATS, int(budget / first)))
    return statistics.median(_timed(once, device) for _ in range(repeats))


def _timed(once: Callable[[], None], device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    once()
    wait_for(device)
    return time.perf_counter() - started


def main() -> None:
    """One job from standard input; whatever libraries print goes to standard error."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def report(row: dict[str, Any]) -> None:
        channel.write(json.dumps(row) + "\n")
        channel.flush()

    try:
        measure(json.load(sys.stdin), report)
    except BenchError as error:
        report({"remarks": [str(error)]})


if __name__ == "__main__":
    main()
