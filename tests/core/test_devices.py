"""One name for a device, in records and on the efficiency page."""

import torch

from bench.core import devices
from bench.core.devices import device_name


def test_the_processor_is_named_for_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "processor", lambda: "A Processor 9000")
    assert device_name("cpu") == device_name(torch.device("cpu")) == "A Processor 9000"


def test_a_processor_without_a_name_is_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "processor", lambda: "")
    assert device_name("cpu") == "CPU"


def test_a_gpu_has_its_own_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    assert device_name("cuda:1") == "GPU cuda:1"
    assert device_name(torch.device("cuda", 0)) == "GPU cuda:0"
