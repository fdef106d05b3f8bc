import pytest
import torch
from safetensors import SafetensorError

from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.training.checkpoints import Pace, load_state, save_state, save_tensors


def test_nested_state_comes_back(tmp_path):
    weight = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.AdamW([weight], 0.1)
    weight.sum().backward()
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "nothing": None,
        "history": [{"loss": 0.5}],
        "empty": {},
    }
    save_state(tmp_path / "state", state)
    back = load_state(tmp_path / "state")
    assert back["epoch"] == 3 and back["nothing"] is None and back["empty"] == {}
    assert back["history"] == [{"loss": 0.5}]
    other = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))], 0.1)
    other.load_state_dict(back["optimizer"])
    assert torch.equal(
        other.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )


def test_a_damaged_file_says_what_to_do(tmp_path):
    save_state(tmp_path / "state", {"a": torch.zeros(100)})
    whole = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(whole[:-50])
    with pytest.raises(BenchError, match="damaged.*delete it"):
        load_state(tmp_path / "state")


@pytest.mark.parametrize(
    "text",
    ["I/O error: No space left on device (os error 28)", 'IoError(Os { code: 28, kind: "x" })'],
)
def test_a_full_disk_is_told_as_one(tmp_path, monkeypatch, text):
    def full(*words):
        raise SafetensorError(f"Error while serializing: {text}")

    monkeypatch.setattr("bench.training.checkpoints.save_file", full)
    with pytest.raises(BenchError, match="the disk is full"), disk_errors("store", tmp_path):
        save_tensors(tmp_path / "weights.safetensors", {"a": torch.ones(2)})
    assert list(tmp_path.iterdir()) == []


class Clock:
    """Seconds that pass only when asked."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("bench.training.checkpoints.time.monotonic", lambda: self.now)


def test_a_checkpoint_that_took_long_comes_less_often(tmp_path, monkeypatch):
    """Every 30 s; one that took 6 s takes a twentieth of the time when it comes every 120 s."""
    clock = Clock(monkeypatch)
    pace = Pace()
    clock.now += 30
    assert not pace.due(30.0)
    clock.now += 1
    assert pace.due(30.0)

    def slow(path, state):
        clock.now += 6

    monkeypatch.setattr("bench.training.checkpoints.save_state", slow)
    pace.write(tmp_path / "state", {})
    clock.now += 119
    assert not pace.due(30.0)
    clock.now += 2
    assert pace.due(30.0)


def test_zero_seconds_ask_for_a_checkpoint_at_each_opportunity(tmp_path):
    pace = Pace()
    pace.write(tmp_path / "state", {"epoch": 1})
    pace.cost = 100.0
    assert pace.due(0.0) and not pace.due(30.0)
