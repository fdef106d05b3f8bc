"""torch's own settings are those that a profile asks for, and only while a cell computes."""

import pytest
import torch

from bench.experiments.executors.worker import changed_settings
from bench.training.engine import Engine

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def settings() -> dict[str, bool]:
    cudnn = torch.backends.cudnn
    return {
        "convolution": cudnn.allow_tf32,
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled() and cudnn.deterministic,
        "benchmark": cudnn.benchmark,
    }


@pytest.mark.parametrize(
    "tf32, convolution, matmul",
    [("off", False, False), ("convolution", True, False), ("all", True, True)],
)
def test_tf32_is_allowed_where_the_engine_says(tf32, convolution, matmul):
    before = settings()
    with Engine(CPU, tf32=tf32).numerics():
        inside = settings()
    assert (inside["convolution"], inside["matmul"]) == (convolution, matmul)
    assert settings() == before and changed_settings() == ()
    operations = [name for name in ("convolution", "matmul") if inside[name]]
    assert Engine(GPU, tf32=tf32).tf32_operations == operations
    assert Engine(CPU, tf32=tf32).tf32_operations == []


def test_deterministic_refuses_what_has_no_such_form_and_ends_with_the_cell(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    engine = Engine(CPU, deterministic=True)
    with pytest.raises(ValueError, match="a cell fails"), engine.numerics():
        assert settings()["deterministic"] and not settings()["benchmark"]
        raise ValueError("a cell fails")
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic and torch.backends.cudnn.benchmark
    assert changed_settings() == ()


def test_the_default_is_torchs_own():
    before = settings()
    with Engine(CPU).numerics():
        assert settings() == before | {"benchmark": False}
