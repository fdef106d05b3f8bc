"""Files of a tokenizer that a user points to: damaged, foreign, or programs."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

CONFIG = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "scaling_factor": 0.18,
}

EVAL = ("tokenizer", "eval", "diffusers@vae", "--masks", "masks", "--size", "32", "--device", "cpu")


class Program:
    """A pickle of it would write a file when it is loaded."""

    def __reduce__(self):
        return (open, ("evil", "w"))


@pytest.fixture
def vae(home):
    (home / "vae").mkdir()
    (home / "masks").mkdir()
    save_file({"a": torch.zeros(2)}, home / "vae" / "diffusion_pytorch_model.safetensors")
    (home / "vae" / "config.json").write_text(json.dumps(CONFIG))
    from data_doubles import square

    square(1, 1, 3).save(home / "masks" / "a.png")
    return home / "vae"


CONTENTS = {
    "empty": b"",
    "a list": b"[1, 2]",
    "a number": b"3",
    "null": b"null",
    "half": b'{"_class_name": ',
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
    "5000 digits": b'{"in_channels": ' + b"9" * 5000 + b"}",
    "nan": b'{"scaling_factor": NaN}',
    "a key twice": b'{"in_channels": 3, "in_channels": 4}',
    "no class": b"{}",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_config_that_is_none(refused, vae, content):
    (vae / "config.json").write_bytes(content)
    refused(*EVAL, says=("config.json",))


@pytest.mark.parametrize(
    "field, value",
    [
        ("_class_name", "os.system"),
        ("_class_name", ["AutoencoderKL"]),
        ("_class_name", {"a": 1}),
        ("_class_name", None),
        ("latent_channels", -4),
        ("latent_channels", "four"),
        ("block_out_channels", 8),
        ("block_out_channels", []),
        ("block_out_channels", [8, -8]),
        ("block_out_channels", [8, "8"]),
        ("block_out_channels", "88"),
        ("norm_num_groups", 0),
        ("norm_num_groups", 3),
        ("down_block_types", ["os.system"] * 2),
        ("down_block_types", 2),
        ("layers_per_block", -1),
        ("scaling_factor", 0),
        ("scaling_factor", -1),
        ("scaling_factor", True),
        ("scaling_factor", "1"),
        ("scaling_factor", [1]),
        ("scaling_factor", None),
    ],
)
def test_a_value_that_describes_no_tokenizer(refused, vae, field, value):
    (vae / "config.json").write_text(json.dumps(CONFIG | {field: value}))
    refused(*EVAL, says=("config.json",))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b"\x08" + bytes(7) + b"{}"])
def test_weights_that_are_none(refused, vae, content):
    (vae / "diffusion_pytorch_model.safetensors").write_bytes(content)
    refused(*EVAL, says=("diffusion_pytorch_model.safetensors",))


def test_weights_of_another_network(refused, vae):
    refused(*EVAL, says=("does not fit AutoencoderKL as configured: it lacks",))


@pytest.mark.parametrize("suffix", ["ckpt", "pt", "pth"])
@pytest.mark.parametrize("kind", ["torch", "pickle", "garbage", "empty", "a list"])
def test_a_checkpoint_that_is_a_program_or_damaged_runs_nothing(refused, vae, home, suffix, kind):
    file = home / f"model.{suffix}"
    if kind == "torch":
        torch.save({"state_dict": {"encoder.conv_in.bias": Program()}}, file)
    elif kind == "pickle":
        file.write_bytes(pickle.dumps({"state_dict": Program()}))
    elif kind == "a list":
        torch.save([torch.zeros(2)], file)
    else:
        file.write_bytes(b"" if kind == "empty" else b"garbage")
    words = [f"sd-vae@{file.name}" if word == "diffusers@vae" else word for word in EVAL]
    refused(*words, says=(file.name,))


@pytest.mark.parametrize("name", ["encoder.pkl", "decoder.pkl"])
@pytest.mark.parametrize("kind", ["program", "garbage"])
def test_the_pickles_of_dalle_run_nothing(refused, vae, home, name, kind):
    (home / "dalle").mkdir()
    for file in ("encoder.pkl", "decoder.pkl"):
        content = pickle.dumps(Program()) if kind == "program" else b"garbage"
        (home / "dalle" / file).write_bytes(content)
    words = ["dalle@dalle" if word == "diffusers@vae" else word for word in EVAL]
    refused(*words, says=("dalle/encoder.pkl",))


@pytest.mark.parametrize("location", ["nowhere", "/dev/null", "masks", "model.txt", "../outside"])
def test_locations_that_hold_no_tokenizer(refused, vae, home, location):
    (home / "model.txt").write_text("x")
    words = [f"diffusers@{location}" if word == "diffusers@vae" else word for word in EVAL]
    refused(*words, says=(location,))
