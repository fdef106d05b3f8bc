"""One training step of a method on a device called "cuda"."""

import pytest
import torch
from torch import Tensor

from bench.conformance.subject import Subject
from bench.contracts import Batch
from bench.method import Method
from bench.registry import method_names
from bench.training.engine import Engine

SLOW = {"acc_unet", "ege_unet", "gss", "medsegdiff_v2", "multiresunet", "sdseg", "sme_swin_unet"}
SLOW |= {"swin_unet", "uctransnet"}
"""Methods whose step takes many seconds of bookkeeping, although no number is computed."""

NAMES = [
    pytest.param(name, marks=pytest.mark.heavy if name in SLOW else ())
    for name in method_names()
    if ":" not in name
]


def batch_of(subject: Subject, method: Method) -> Batch:
    """Two images on "cuda", with the latents that the method reads."""
    side, tokenizer = subject.side, subject.tokenizer
    images, masks = torch.rand(2, 3, side, side, device="cuda"), torch.ones(2, 1, side, side)
    batch = Batch(images, masks.to("cuda"))
    if method.latent_inputs:
        small = side // tokenizer.factor
        for kind in method.latent_inputs:
            latents = torch.rand(2, tokenizer.latent_channels, small, small, device="cuda")
            setattr(batch, f"{kind}_latents", latents)
        if tokenizer.has_posterior:
            batch.image_latents_std = torch.rand_like(batch.image_latents)
    return batch


def step(method: Method, batch: Batch, engine: Engine, optimizer: torch.optim.Optimizer) -> Tensor:
    """One training step; the loss."""
    method.train()
    batch.images = engine.place(batch.images)
    with engine.autocast():
        loss = method.loss(batch)["loss"]
    loss.backward()
    optimizer.step()
    return loss
