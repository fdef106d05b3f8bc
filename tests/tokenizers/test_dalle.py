"""OpenAI's dVAE: its arithmetic, its size, and its released pickles read without its package."""

import ast
import copy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from bench.core.errors import BenchError
from bench.tokenizers.builtin import SD_VAE
from bench.tokenizers.dalle import DALLE
from bench.tokenizers.dalle_network import Block, Conv, DalleTokenizer, Decoder, Encoder
from bench.tokenizers.dalle_pickles import read_into

RELEASED = {"encoder": ("Encoder", "EncoderBlock"), "decoder": ("Decoder", "DecoderBlock")}
RELEASED |= {"utils": ("Conv2d",)}


@pytest.fixture
def package(monkeypatch):
    """Stand-ins for OpenAI's package: its modules by path."""
    modules = {"dall_e": ModuleType("dall_e")}
    for file, names in RELEASED.items():
        path = f"dall_e.{file}"
        modules[path] = ModuleType(path)
        for name in names:
            setattr(modules[path], name, type(name, (nn.Module,), {"__module__": path}))
    for path, module in modules.items():
        monkeypatch.setitem(sys.modules, path, module)
    return modules


def small() -> tuple[Encoder, Decoder]:
    torch.manual_seed(0)
    return Encoder(width=8, codes=16), Decoder(width=8, codes=16, first=4)


def save_as_released(network: nn.Module, file: Path, package: dict[str, ModuleType]) -> None:
    """Pickle a whole module under the class names of OpenAI's package, with its attributes.

    Afterwards importing the package fails.
    """
    home = package[f"dall_e.{type(network).__name__.lower()}"]
    classes = {
        type(network): getattr(home, type(network).__name__),
        Block: getattr(home, f"{type(network).__name__}Block"),
        Conv: package["dall_e.utils"].Conv2d,
    }
    network = copy.deepcopy(network)
    for part in network.modules():
        if type(part) in classes:
            part.__class__ = classes[type(part)]
            part.device, part.requires_grad, part.n_in = torch.device("cpu"), False, 3
    torch.save(network, file)
    for path in package:
        sys.modules[path] = None


def test_parameters_are_those_of_the_release():
    with torch.device("meta"):
        encoder, decoder = Encoder(), Decoder()
    assert sum(p.numel() for p in encoder.parameters()) == 53_786_240
    assert sum(p.numel() for p in decoder.parameters()) == 43_829_766
    shapes = {name: tuple(p.shape) for name, p in encoder.named_parameters()}
    assert list(shapes)[:4] == [
        "blocks.input.w",
        "blocks.input.b",
        "blocks.group_1.block_1.res_path.conv_1.w",
        "blocks.group_1.block_1.res_path.conv_1.b",
    ]
    assert shapes["blocks.input.w"] == (256, 3, 7, 7)
    assert shapes["blocks.group_2.block_1.id_path.w"] == (512, 256, 1, 1)
    assert shapes["blocks.group_4.block_2.res_path.conv_3.w"] == (512, 512, 3, 3)
    assert shapes["blocks.group_4.block_2.res_path.conv_4.w"] == (2048, 512, 1, 1)
    assert shapes["blocks.output.conv.w"] == (8192, 2048, 1, 1)
    shapes = {name: tuple(p.shape) for name, p in decoder.named_parameters()}
    assert shapes["blocks.input.w"] == (128, 8192, 1, 1)
    assert shapes["blocks.group_1.block_1.id_path.w"] == (2048, 128, 1, 1)
    assert shapes["blocks.group_1.block_1.res_path.conv_1.w"] == (512, 128, 1, 1)
    assert shapes["blocks.group_1.block_1.res_path.conv_4.w"] == (2048, 512, 3, 3)
    assert shapes["blocks.output.conv.w"] == (6, 256, 1, 1)


@pytest.mark.parametrize("value, expected", [(1.0, 1 + 4 / 64), (-1.0, -1.0)])
def test_a_residual_path_counts_one_64th_and_begins_with_a_relu(value, expected):
    """Four channels into one, one and one, back to four: ones everywhere make 4 of 1."""
    block = Block(4, 4, (1, 1, 1, 1))
    for name, parameter in block.named_parameters():
        parameter.data.fill_(1.0 if name.endswith("w") else 0.0)
    assert block(torch.full((1, 4, 1, 1), value)).flatten().tolist() == [expected] * 4


def test_encoder_and_decoder_change_the_side_by_eight():
    encoder, decoder = small()
    assert encoder(torch.rand(2, 3, 32, 16)).shape == (2, 16, 4, 2)
    assert decoder(torch.rand(2, 16, 4, 2)).shape == (2, 6, 32, 16)


class Recorder(nn.Module):
    """Keeps its input; gives `output`."""

    codes = 2

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return self.output


def test_pictures_are_squeezed_on_the_way_in_and_stretched_on_the_way_out():
    logits = torch.tensor([0.0, 0.4054651, 2.1972246, 9.0, 9.0, 9.0]).view(1, 6, 1, 1)
    code = torch.tensor([0.2, 0.8]).view(1, 2, 1, 1)
    encoder, decoder = Recorder(code), Recorder(logits)
    tokenizer = DalleTokenizer(encoder, decoder)
    assert tokenizer.encode_tokens(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)).item() == 1
    assert encoder.seen.flatten().tolist() == pytest.approx([0.1, 0.5, 0.9])
    decoded = tokenizer.decode_tokens(torch.tensor([[[1]]]))  # sigmoid: 0.5, 0.6, 0.9
    assert decoder.seen.flatten().tolist() == [0.0, 1.0]
    assert decoded.flatten().tolist() == pytest.approx([0.5, 0.625, 1.0])


def test_latents_are_one_hot_codes_and_decode_as_the_codes_do():
    tokenizer = DalleTokenizer(*small())
    images = torch.rand(1, 3, 32, 32)
    tokens, latents = tokenizer.encode_tokens(images), tokenizer.encode(images)
    assert torch.equal(latents.argmax(1), tokens) and torch.equal(
        latents.sum(1), torch.ones(1, 4, 4)
    )
    assert torch.equal(tokenizer.decode(latents), tokenizer.decode_tokens(tokens))


def test_tokens_have_an_eighth_of_the_side():
    with torch.device("meta"):
        tokenizer = DALLE.load(weights=False)
        tokens = tokenizer.encode_tokens(torch.empty(1, 3, 64, 64))
        assert tokens.shape == (1, 8, 8)
        assert tokenizer.decode_tokens(tokens).shape == (1, 3, 64, 64)
    assert sum(p.numel() for p in tokenizer.parameters()) == DALLE.parameters == 97_616_006


@pytest.mark.parametrize("which", [0, 1], ids=["encoder", "decoder"])
def test_released_pickles_are_read_without_the_package_that_wrote_them(which, tmp_path, package):
    network = small()[which]
    save_as_released(network, tmp_path / "whole.pkl", package)
    with pytest.raises(ImportError):
        import dall_e  # noqa: F401
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data.zero_()
    read_into(other, tmp_path / "whole.pkl")
    found, expected = other.state_dict(), network.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class Payload:
    def __reduce__(self):
        return (print, ("run by a pickle",))


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, capsys):
    torch.save(Payload(), tmp_path / "bad.pkl")
    (tmp_path / "old.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for name in ("bad.pkl", "old.pkl"):
        with pytest.raises(BenchError, match=rf"{name} cannot be read as OpenAI's dVAE.*again"):
            read_into(small()[0], tmp_path / name)
    assert capsys.readouterr().out == ""


def test_other_weights_are_refused(tmp_path, package):
    encoder, decoder = small()
    save_as_released(decoder, tmp_path / "decoder.pkl", package)
    with pytest.raises(BenchError, match=r"(?s)decoder\.pkl holds other weights.*again"):
        read_into(encoder, tmp_path / "decoder.pkl")
    torch.save([1, 2], tmp_path / "list.pkl")
    with pytest.raises(BenchError, match=r"list\.pkl cannot be read as OpenAI's dVAE"):
        read_into(encoder, tmp_path / "list.pkl")


def files_behind(start: Path) -> set[str]:
    """Names of the modules of bench.tokenizers that a file leads to by imports, lazy ones too."""
    seen, waiting = set(), [start.stem]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            for node in ast.walk(ast.parse(start.with_name(f"{name}.py").read_text())):
                module = getattr(node, "module", None) or ""
                if isinstance(node, ast.ImportFrom) and module.startswith("bench.tokenizers."):
                    waiting.append(module.split(".")[2])
    return seen


def test_a_spec_leads_to_its_own_code_and_no_other_tokenizers():
    shared = {"spec", "base"}
    assert files_behind(DALLE.source_file) == shared | {"dalle", "dalle_network", "dalle_pickles"}
    assert files_behind(SD_VAE.source_file) == shared | {
        "builtin",
        "loading",
        "autoencoders",
        "restructured",
    }
