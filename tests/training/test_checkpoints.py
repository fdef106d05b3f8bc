import pytest
import torch
from safetensors import SafetensorError

from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.training.checkpoints import load_state, save_state, save_tensors


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
