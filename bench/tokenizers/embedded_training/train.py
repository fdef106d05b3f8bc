"""Trains the tokenizers that ship with the package; the loop reads top to bottom.

Every random draw of a step comes from (seed, step), so a run that was stopped and resumed ends
with the weights of one that was not.
"""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.files import write_bytes, write_json, write_text, write_with
from bench.core.provenance import environment
from bench.data import phantoms
from bench.method import to_images
from bench.tokenizers.autoencoders import nearest_code
from bench.tokenizers.embedded_training import corpus
from bench.tokenizers.embedded_training.codebook import MovingCodebook, fit_codes, perplexity
from bench.tokenizers.embedded_training.corpus import Pool, paint_image, paint_mask
from bench.tokenizers.embedded_training.objective import (
    hard_dice,
    image_loss,
    mask_loss,
    probe_loss,
    psnr,
    range_loss,
)
from bench.tokenizers.embedded_training.recipes import TokenizerRecipe
from bench.tokenizers.spec import CONFIG, WEIGHTS

CPU = torch.device("cpu")
CHECKED = (32, 96)  # pictures per check, and their side in px
HELD_OUT = 10_000_000  # indices of pictures from here on are never trained on


def build_network(recipe: TokenizerRecipe) -> Any:
    """The untrained network of a recipe, as diffusers builds it."""
    import diffusers

    return getattr(diffusers, recipe.network)(**recipe.config)


def encode_raw(model: Any, images: Tensor) -> Tensor:
    """Unscaled, unquantised latents float32 of images (N, 3, H, W) in [0, 1]."""
    latents = model.encoder(images * 2 - 1)
    if hasattr(model, "quant_conv"):
        latents = model.quant_conv(latents)
    return latents.float()


def decode_raw(model: Any, latents: Tensor) -> Tensor:
    """Images float32 (N, 3, H, W), nominally in [0, 1], of unscaled latents."""
    if hasattr(model, "post_quant_conv"):
        latents = model.post_quant_conv(latents)
    return (model.decoder(latents).float() + 1) / 2


def rate(recipe: TokenizerRecipe, steps: int, step: int) -> float:
    """Learning rate of a step: linear rise, constant, linear fall to 0 over the last steps."""
    rise = (step + 1) / max(recipe.warmup, 1)
    fall = (steps - step) / (recipe.decay * steps)
    return recipe.lr * min(1.0, rise, fall)


class TokenizerRun:
    """One training run: network, optimizer, averaged weights, codebook and curve."""

    def __init__(
        self,
        recipe: TokenizerRecipe,
        pool: Pool,
        seed: int,
        steps: int,
        device: torch.device = CPU,
    ) -> None:
        torch.manual_seed(seed)
        self.recipe, self.pool, self.seed, self.steps = recipe, pool, seed, steps
        self.device = device
        self.model: Any = build_network(recipe).to(device, memory_format=torch.channels_last)
        self.step, self.seconds = 0, 0.0
        self.curve: list[dict[str, float]] = []
        self.codebook: MovingCodebook | None = None
        if recipe.codebook_start is not None:
            codes = self.model.quantize.embedding.weight.requires_grad_(False)
            self.codebook = MovingCodebook(codes, recipe.codebook_decay)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.probe = nn.Conv2d(recipe.config["latent_channels"], 3, 1).to(device)
        self.probe_optimizer = torch.optim.Adam(self.probe.parameters(), 1e-2)
        self.averaged = [p.detach().clone() for p in self.trained]
        self.optimizer = torch.optim.AdamW(
            self.trained, recipe.lr, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )

    # -- batches ------------------------------------------------------------------------------

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Pictures float32 (N, 3, S, S) in [0, 1] and masks 0/1 (N, 1, S, S) of one step."""
        shares = np.array([share for _, _, share in self.recipe.batches])
        size, count, _ = self.recipe.batches[rng.choice(len(shares), p=shares / shares.sum())]
        largest = self.pool.images.shape[1]
        side = int(min(largest, round(size * 2 ** rng.uniform(-0.5, 1.8))))
        crops = torch.from_numpy(self.pool.image_crops(rng, count, side)).permute(0, 3, 1, 2)
        images = crops.float() / 255
        if side != size:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        masks = torch.from_numpy(self.pool.mask_crops(rng, count, min(size, largest)))
        return images.to(self.device), masks[:, None].float().to(self.device)

    # -- one step -----------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """Advance by one optimizer step; returns the losses."""
        rng = np.random.default_rng([self.seed, 3, self.step])
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        images, masks = self.batch(rng)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, self.steps, self.step)
        losses = self.losses(images, masks, generator)
        self.optimizer.zero_grad()
        self.probe_optimizer.zero_grad()
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.trained, self.recipe.grad_clip)
        self.optimizer.step()
        self.probe_optimizer.step()
        self.average()
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The loss and its parts, of pictures and masks in one batch."""
        count = len(images)
        inputs = torch.cat([images, masks.expand(-1, 3, -1, -1)])
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            latents = encode_raw(self.model, inputs)
            received, commitment = self.bottleneck(latents, generator)
            decoded = decode_raw(self.model, received)
        parts = image_loss(decoded[:count], images, self.recipe, self.step)
        parts |= mask_loss(decoded[count:], masks, self.recipe)
        parts["commitment"] = commitment
        total = parts["image"] + parts["mask"] + range_loss(latents)
        if self.recipe.colours_count(self.recipe.probe_start, self.step):
            parts["probe"] = probe_loss(self.probe(latents[:count]), images)
            total = total + self.recipe.probe * parts["probe"]
        return {"loss": total + self.recipe.commitment * commitment, **parts}

    def bottleneck(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What the decoder receives: noisy latents, or quantised ones once the codebook runs."""
        start = self.recipe.codebook_start
        if self.codebook is None or start is None or self.step < start:
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            return latents + self.recipe.latent_noise * noise, latents.new_zeros(())
        if self.step == start:
            self.fit_codebook(generator)
        flat = latents.detach().permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        index = nearest_code(flat, self.codebook.codes)
        shape = (latents.shape[0], *latents.shape[2:], latents.shape[1])
        quantised = self.codebook.codes[index].view(shape).permute(0, 3, 1, 2)
        self.codebook.update(flat, index)
        settled = self.step >= self.steps * (1 - self.recipe.decay)
        if self.step % 20 == 0 and not settled:
            self.codebook.restart(flat, index, generator)
        commitment = (latents - quantised).square().mean()
        return latents + (quantised - latents).detach(), commitment

    @torch.no_grad()
    def fit_codebook(self, generator: torch.Generator) -> None:
        """k-means of the latents of some batches, once the encoder has learnt."""
        assert self.codebook is not None
        rng = np.random.default_rng([self.seed, 4])
        found: list[Tensor] = []
        while sum(len(part) for part in found) < 12 * len(self.codebook.codes):
            images, masks = self.batch(rng)
            for inputs in (images, masks.expand(-1, 3, -1, -1)):
                latents = encode_raw(self.model, inputs)
                found.append(latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]))
        self.codebook.start(fit_codes(torch.cat(found), len(self.codebook.codes), generator))

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights towards the current ones, faster at the start."""
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.averaged, [p.detach() for p in self.trained], 1 - decay)

    # -- quality ------------------------------------------------------------------------------

    def averaged_model(self) -> nn.Module:
        """A copy of the network with the averaged weights (the codebook as it is)."""
        model = build_network(self.recipe)
        model.load_state_dict(self.model.state_dict())
        pairs = zip(model.parameters(), self.model.parameters(), strict=True)
        copies = [copy for copy, original in pairs if original.requires_grad]
        for copy, value in zip(copies, self.averaged, strict=True):
            copy.data.copy_(value)
        return model.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def check(self) -> dict[str, float]:
        """Quality of the averaged weights on held-out procedural pictures and masks."""
        model = self.averaged_model()
        images, masks = (x.to(self.device) for x in held_out(*CHECKED, self.seed))
        result = {}
        for kind, inputs in (("image", images), ("mask", masks.expand(-1, 3, -1, -1))):
            latents = encode_raw(model, inputs)
            if self.codebook is not None:
                flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
                index = nearest_code(flat, self.codebook.codes)
                result[f"check_{kind}_perplexity"] = perplexity(index, len(self.codebook.codes))
            if self.codebook is not None and self.step > (self.recipe.codebook_start or 0):
                shape = (latents.shape[0], *latents.shape[2:], latents.shape[1])
                latents = self.codebook.codes[index].view(shape).permute(0, 3, 1, 2)
            decoded = decode_raw(model, latents)
            score = psnr(decoded, images) if kind == "image" else hard_dice(decoded, masks)
            result["check_psnr" if kind == "image" else "check_mask_dice"] = float(score.mean())
        return result

    @torch.no_grad()
    def scale(self) -> float:
        """1 / SD of the latents of held-out pictures and masks: scaled ones have unit SD."""
        model = self.averaged_model()
        images, masks = held_out(2 * CHECKED[0], CHECKED[1], self.seed)
        both = torch.cat([images, masks.expand(-1, 3, -1, -1)]).to(self.device)
        return 1 / float(encode_raw(model, both).std())

    # -- storing ------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs to go on; tensors and plain values only."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
            "probe": self.probe.state_dict(),
            "probe_optimizer": self.probe_optimizer.state_dict(),
            "codebook": self.codebook.state() if self.codebook else {},
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
            "recipe": recipe_identity(self.recipe),
            "seed": self.seed,
        }
        write_with(folder / "state.pt", lambda file: torch.save(state, file))
        self.write_curve(folder)

    def load(self, folder: Path) -> None:
        """Go on from `save`; BenchError when the run there had another recipe or seed."""
        state = torch.load(folder / "state.pt", map_location=self.device, weights_only=True)
        if (state["recipe"], state["seed"]) != (recipe_identity(self.recipe), self.seed):
            raise BenchError(
                f"{folder} holds a run with another recipe or seed than {self.recipe.name} with "
                f"seed {self.seed}. A run resumes only itself: name another --out."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.probe.load_state_dict(state["probe"])
        self.probe_optimizer.load_state_dict(state["probe_optimizer"])
        if self.codebook is not None:
            self.codebook.load(state["codebook"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]

    def write_curve(self, folder: Path) -> None:
        """The curve so far as `curve.csv`, a row per log interval; empty where not measured."""
        columns = list(dict.fromkeys(key for row in self.curve for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in self.curve)
        write_text(folder / "curve.csv", text.getvalue())

    def export(self, folder: Path) -> None:
        """Write the averaged network in diffusers' format: config.json and fp16 safetensors."""
        model: Any = self.averaged_model()
        model.register_to_config(scaling_factor=round(self.scale(), 5))
        config = json.loads(model.to_json_string())
        if self.recipe.network == "AutoencoderTiny":
            del config["block_out_channels"]  # diffusers writes it and then warns about it
        weights = {
            key: value.cpu().half().contiguous() for key, value in model.state_dict().items()
        }
        write_json(folder / CONFIG, config)
        write_bytes(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))


def recipe_identity(recipe: TokenizerRecipe) -> str:
    """The recipe as text, without its length: that may change between runs."""
    return recipe.model_dump_json(exclude={"steps"})


def training_facts(run: TokenizerRun) -> dict[str, Any]:
    """What a finished run says of itself, JSON-able; a model card begins with it."""
    return {
        "recipe": run.recipe.model_copy(update={"steps": run.steps}).model_dump(mode="json"),
        "seed": run.seed,
        "train_seconds": round(run.seconds),
        "corpus_version": corpus.VERSION,
        "phantoms_version": phantoms.VERSION,
        "threads": torch.get_num_threads(),
        "provenance": environment(),
    }


def held_out(count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures (count, 3, size, size) in [0, 1] and masks 0/1 (count, 1, size, size)."""
    images = np.stack([paint_image(HELD_OUT + i, size, seed) for i in range(count)])
    masks = np.stack([paint_mask(HELD_OUT + i, size, seed) for i in range(count)])
    return to_images(torch.from_numpy(images)), torch.from_numpy(masks)[:, None].float()


def run_training(
    run: TokenizerRun,
    out: Path,
    progress: Callable[[dict[str, float]], None] = lambda row: None,
) -> None:
    """Train `run` to its last step, resuming what `out` holds, then export to `out`."""
    recipe = run.recipe
    if (out / "state.pt").is_file():
        run.load(out)
    started = time.perf_counter() - run.seconds
    while run.step < run.steps:
        row = run.train_step()
        run.seconds = time.perf_counter() - started
        last = run.step == run.steps
        if run.step % recipe.log_every == 0 or last:
            row |= {"step": run.step, "seconds": run.seconds}
            row["lr"] = rate(recipe, run.steps, run.step - 1)
            if run.step % recipe.check_every == 0 or last:
                row |= run.check()
            run.curve.append(row)
            progress(row)
        if run.step % recipe.save_every == 0 or last:
            run.save(out)
    run.export(out)
    write_json(out / "training.json", training_facts(run))
