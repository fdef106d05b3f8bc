"""Every method's step and prediction, and the transfers, on a real GPU; skipped without one."""

import warnings

import pytest
import torch
from steps import NAMES, batch_of, step

from bench.conformance.subject import Subject
from bench.registry import find_method
from bench.training.engine import Engine
from bench.training.optimizer import make_optimizer
from bench.training.transfers import Upload, download

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

GPU = torch.device("cuda", 0)
WAYS = {"fp32": ("fp32", False), "bf16": ("bf16", False), "channels-last": ("bf16", True)}
WAITS = {"sme_swin_unet": 2}
"""Of one step, for superpixels on the host; 0 for every other method."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_and_a_prediction(name, way):
    precision, channels_last = WAYS[way]
    spec = find_method(name).load()
    engine = Engine(GPU, precision, channels_last)
    with Subject(spec, spec.settings(**spec.reduced)) as subject:
        method = engine.place(subject.build())
        if precision == "bf16" and method.bf16_unsupported:
            pytest.skip(method.bf16_unsupported)
        batch, optimizer = batch_of(subject, method), make_optimizer(method, subject.recipe(2))
        step(method, batch, engine, optimizer)  # the first one also chooses algorithms
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                loss = step(method, batch, engine, optimizer)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits = [str(one.message) for one in found if "synchroniz" in str(one.message)]
        assert len(waits) <= WAITS.get(name, 0), waits
        assert torch.isfinite(loss)
        method.eval()
        with torch.inference_mode(), engine.autocast():
            probs = method.predict(engine.place(batch.images))
        assert probs.dtype == torch.float32 and probs.device == GPU
        assert 0 <= float(probs.min()) <= float(probs.max()) <= 1


def test_tensors_arrive_as_they_were_sent():
    tensors = [torch.tensor([3, 1, 2]), torch.tensor([True]), torch.rand(3, 2).t(), torch.ones(())]
    upload = Upload()
    for tensor in tensors:
        upload.add(tensor)
    sent = upload.send(GPU)
    back = download({str(place): tensor for place, tensor in enumerate(sent)})
    for tensor, there, again in zip(tensors, sent, back.values(), strict=True):
        assert there.device == GPU and torch.equal(there.cpu(), tensor)
        assert torch.equal(again, tensor) and again.is_contiguous()
