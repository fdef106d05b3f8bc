"""Tensors that travel together arrive as they were sent."""

import torch

from bench.training.transfers import Upload, download

MIXED = [
    torch.tensor([3, 1, 2]),
    torch.tensor([[0.5, -1.0]]),
    torch.tensor([True]),
    torch.arange(6, dtype=torch.float32).view(2, 3).t(),  # not contiguous
    torch.tensor([7], dtype=torch.uint8),
]


def test_on_a_cpu_nothing_is_copied():
    upload = Upload()
    assert [upload.add(tensor) for tensor in MIXED] == [0, 1, 2, 3, 4]
    sent = upload.send(torch.device("cpu"))
    assert all(a is b for a, b in zip(sent, MIXED, strict=True))


def test_downloads_are_copies():
    weights = {"a": torch.ones(2)}
    copies = download(weights)
    weights["a"].zero_()
    assert copies["a"].tolist() == [1, 1]
