"""How often the host waits for the device inside each method's own loss, counted without one."""

import pytest
from pretended import CUDA, pretending, send_weights
from steps import NAMES, batch_of, step

from bench.conformance.subject import Subject
from bench.registry import find_method
from bench.training.engine import Engine
from bench.training.optimizer import make_optimizer

WAITS = {"sme_swin_unet": 2}
"""Of one step; 0 for every other method. SLIC runs on the host: images come, outlines go back."""


@pytest.mark.parametrize("name", NAMES)
def test_how_often_a_step_waits(name, pretended_cuda):
    spec = find_method(name).load()
    with Subject(spec, spec.settings(**spec.reduced)) as subject:
        method = subject.build()
        with pretending() as mode:
            send_weights(method, lambda tensor: tensor.to(CUDA))
            optimizer = make_optimizer(method, subject.recipe(2))
            batch = batch_of(subject, method)
            mode.waits.clear()
            step(method, batch, Engine(CUDA), optimizer)
    assert sum(mode.waits.values()) == WAITS.get(name, 0), mode.waits
