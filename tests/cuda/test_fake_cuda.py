"""Every method's training step and prediction on a device called "cuda", without one.

torch's fake tensors have shapes, types and devices, but no values. An operation on tensors of two
devices and a value that the host reads both raise, as neither is visible on a CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from pretended import send_weights
from steps import NAMES, batch_of, step
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.conformance.subject import Subject
from bench.method import Method
from bench.registry import find_method
from bench.training.engine import Engine
from bench.training.optimizer import make_optimizer
from methods import mixstyle, sme_swin_unet

WAYS = {"fp32": ("fp32", False), "bf16": ("bf16", False), "channels-last": ("bf16", True)}

READS_CONSTANTS = {"medsegdiff_v2"}
"""Methods whose `predict` gives constants of the device to a sampler on the host; one step of the
sampling is run instead."""


@pytest.fixture(autouse=True)
def what_fakes_cannot_do(monkeypatch):
    """SLIC is a library's code on the host; torch has no fake draws of a Beta distribution."""
    monkeypatch.setattr(sme_swin_unet, "superpixel_outlines", lambda images: images)
    uniform = SimpleNamespace(sample=lambda shape: torch.rand(shape, device="cuda"))
    monkeypatch.setattr(mixstyle, "Beta", lambda *_, **__: uniform)


@contextmanager
def fake_cuda(module: nn.Module, channels_last: bool = False) -> Iterator[None]:
    """Inside: every weight of `module` is a fake tensor on "cuda"."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def there(tensor: Tensor) -> Tensor:
            fake = mode.from_tensor(tensor).to("cuda")
            last = channels_last and fake.dim() == 4
            return fake.contiguous(memory_format=torch.channels_last) if last else fake

        send_weights(module, there)
        yield


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_and_a_prediction_stay_on_the_device(name, way, pretended_cuda):
    precision, channels_last = WAYS[way]
    spec = find_method(name).load()
    with Subject(spec, spec.settings(**spec.reduced)) as subject:
        method = subject.build()
        if precision == "bf16" and method.bf16_unsupported:
            pytest.skip(method.bf16_unsupported)
        with fake_cuda(method, channels_last):
            engine = Engine(torch.device("cuda"), precision, channels_last)
            batch = batch_of(subject, method)
            optimizer = make_optimizer(method, subject.recipe(2))
            loss = step(method, batch, engine, optimizer)
            assert loss.device.type == "cuda" and loss.dtype == torch.float32
            method.eval()
            with torch.no_grad(), engine.autocast():
                predict = method.predict_step if name in READS_CONSTANTS else method.predict
                probs = predict(engine.place(batch.images))
            assert probs.device.type == "cuda"
            assert probs.shape == (2, 1, subject.side, subject.side)
            if name not in READS_CONSTANTS:
                assert probs.dtype == torch.float32  # as the contract of `predict` says


class TwoDevices(Method):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def predict(self, images: Tensor) -> Tensor:
        return images * self.weight * torch.ones(1, 3, 1, 1)


class ReadsAValue(TwoDevices):
    def predict(self, images: Tensor) -> Tensor:
        return images * float(images.mean())


@pytest.mark.parametrize("kind", [TwoDevices, ReadsAValue])
def test_a_mixture_of_devices_and_a_value_read_by_the_host_are_noticed(kind):
    method = kind()
    with fake_cuda(method), pytest.raises(Exception, match=r"device|_local_scalar"):
        method.predict(torch.rand(2, 3, 8, 8, device="cuda"))
