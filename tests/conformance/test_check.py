"""The contract finds what is broken, and says what to change."""

import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_doubles import make_busi
from torch import nn

from bench import registry
from bench.conformance import method as contract
from bench.conformance.check import check_dataset, check_method, check_tokenizer
from bench.conformance.checks import Broken, Skipped, run_checks
from bench.conformance.subject import Subject
from bench.contracts import MethodSpec, Settings
from bench.core.errors import BenchError
from bench.core.paths import data_root, shipped
from bench.data.cards import load_card
from bench.data.prepare import prepare
from bench.method import Method
from bench.registry import use_plugin_files


@pytest.fixture(autouse=True, scope="module")
def no_plugin_outlives_this_file():
    """Other tests list what is registered."""
    before = registry.plugin_files()
    yield
    registry._plugin_files[:] = before


class Fine(Method):
    """A method that keeps the contract; each case below breaks one thing in it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Conv2d(3, 1, 3, padding=1)

    def logits(self, images):
        return self.head(self.norm(images)).float()

    def loss(self, batch):
        loss = nn.functional.binary_cross_entropy_with_logits(
            self.logits(batch.images), batch.masks
        )
        return {"loss": loss}

    def predict(self, images):
        return self.logits(images).sigmoid()


class Logits(Fine):
    def predict(self, images):
        return 9 * self.logits(images)


class HalfSize(Fine):
    def predict(self, images):
        return super().predict(images)[..., ::2, ::2]


class NaN(Fine):
    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"] * float("nan")}


class Unnamed(Fine):
    def loss(self, batch):
        return {"total": super().loss(batch)["loss"]}


class Detached(Fine):
    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"].detach()}


class PerImage(Fine):
    def loss(self, batch):
        return {"loss": self.logits(batch.images).mean((1, 2, 3))}


class Spare(Fine):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)


class WronglyDeclared(Fine):
    unused_parameters = ("head.bias",)


class PythonCoin(Fine):
    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"] * random.random()}


class HiddenState(Fine):
    def __init__(self):
        super().__init__()
        self.offset = torch.randn(())  # neither a parameter nor a buffer

    def predict(self, images):
        return (self.logits(images) + self.offset).sigmoid()


class CountsCalls(Fine):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def predict(self, images):
        self.calls += 1
        return super().predict(images)


class LooksAtNeighbours(Fine):
    def predict(self, images):
        return super().predict(images / images.mean() * images[0].mean())


class DrawsPerBatch(Fine):
    def predict(self, images):
        return super().predict(images) * torch.rand_like(images[:, :1])


class DrawsPerImage(Fine):
    def predict(self, images):
        return super().predict(images) * self.noise(images[:, :1].shape, images.device).sigmoid()


class KeepsMasks(Fine):
    def loss(self, batch):
        self.kept = batch.masks.mean()
        return super().loss(batch)

    def predict(self, images):
        return super().predict(images) * getattr(self, "kept", 1.0)


class ReadsData(Fine):
    def loss(self, batch):
        root = data_root()
        list(root.iterdir() if root and root.is_dir() else ())
        (root / "busi" / "index.json").exists() and None
        try:
            (root / "busi" / "index.json").read_text()
        except OSError:
            pass
        return super().loss(batch)


class NeverLearns(Fine):
    def logits(self, images):
        return super().logits(images) * 0 - 1


class Plain(nn.Conv2d):
    """A network that keeps the contract."""

    def __init__(self):
        super().__init__(3, 1, 3, padding=1)


class ShortAnswer(Fine):
    def predict(self, images):
        return super().predict(images)[:-1]


class NaNPrediction(Fine):
    def predict(self, images):
        return super().predict(images) * float("nan")


class OnlyLoss(Method):
    def loss(self, batch):
        return {}


class NotAMethod(nn.Module):
    def loss(self, batch):
        return {}

    def predict(self, images):
        return images[:, :1]


BROKEN = [
    (OnlyLoss, contract.builds, r"OnlyLoss does not override predict\(images\)"),
    (NotAMethod, contract.builds, "NotAMethod has loss, predict, which only a Method has"),
    (Logits, contract.predicts_probabilities, r"Logits predicts .* lie in \[0, 1\]"),
    (HalfSize, contract.predicts_probabilities, r"\(2, 1, 32, 32\); it must be \(2, 1, 64, 64\)"),
    (ShortAnswer, contract.predicts_one_image, r"\(0, 1, 64, 64\); it must be \(1, 1, 64, 64\)"),
    (NaNPrediction, contract.predicts_probabilities, "predicts NaN or infinity"),
    (NaN, contract.loss_is_finite, "is nan on the first batch"),
    (Unnamed, contract.loss_is_finite, 'a dict with the key "loss"'),
    (Detached, contract.loss_is_finite, "has no gradient; do not detach"),
    (PerImage, contract.loss_is_finite, r"must be a scalar tensor; reduce it with .mean\(\)"),
    (
        Spare,
        contract.gradients_reach_what_trains,
        "2 trainable parameters get no gradient, e.g. sp",
    ),
    (WronglyDeclared, contract.gradients_reach_what_trains, "some that do get a gradient"),
    (PythonCoin, contract.same_seed_same_result, "torch's global generator"),
    (HiddenState, contract.state_survives_safetensors, "neither a parameter nor a persistent"),
    (CountsCalls, contract.eval_is_repeatable, r"predict\(\) changes \['calls'\]"),
    (DrawsPerBatch, contract.sees_only_what_it_is_given, "Draw with .*self.noise"),
    (LooksAtNeighbours, contract.sees_only_what_it_is_given, "depends on the others in its batch"),
    (KeepsMasks, contract.sees_only_what_it_is_given, "depend on the masks of the last loss"),
    (ReadsData, contract.sees_only_what_it_is_given, r"index.json in a data folder; use the batch"),
]

CHECKS = [
    contract.facts_are_complete,
    contract.settings_are_frozen,
    contract.presets_are_settings,
    contract.recipe_names_exist,
    contract.builds,
    contract.names_are_the_contracts,
    contract.declared_powers_are_valid,
    contract.predicts_probabilities,
    contract.loss_is_finite,
    contract.gradients_reach_what_trains,
    contract.predicts_one_image,
    contract.trains_on_three,
    contract.same_seed_same_result,
    contract.state_survives_safetensors,
    contract.eval_is_repeatable,
    contract.runs_in_bfloat16,
    contract.sees_only_what_it_is_given,
]


def subject_of(module: Any, **facts: Any) -> Subject:
    """A subject for a module class, as if it were registered."""
    words = {"title": "Fine", "family": "CNN", "summary": "fine", "citation": "none"} | facts
    spec = MethodSpec(name="fine", build=lambda settings, context: module(), **words)
    return Subject(spec, spec.settings())


@pytest.mark.parametrize("module", [Fine, Plain], ids=lambda module: module.__name__)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_method_that_keeps_the_contract_passes(check, module):
    with subject_of(module) as subject:
        assert check(subject)


@pytest.mark.parametrize(
    "module, check, message", BROKEN, ids=[module.__name__ for module, _, _ in BROKEN]
)
def test_each_fault_is_found_and_explained(module, check, message):
    with subject_of(module) as subject, pytest.raises((Broken, BenchError), match=message):
        check(subject)


def test_noise_of_an_images_own_keeps_the_contract():
    with subject_of(DrawsPerImage) as subject:
        assert "predicted one by one" in contract.sees_only_what_it_is_given(subject)


MISSPELT = [
    ("head_parameter", "head_parameters"),
    ("head_params", "head_parameters"),
    ("unused_params", "unused_parameters"),
    ("unused_parameter", "unused_parameters"),
    ("note", "footnotes"),
    ("notes", "footnotes"),
    ("footnote", "footnotes"),
    ("bf16_unsuported", "bf16_unsupported"),
    ("overfit_step", "overfit_steps"),
    ("latent_input", "latent_inputs"),
    ("predict_latent", "predict_latents"),
    ("predict_steps", "predict_step"),
    ("normalization", "normalisation"),
]


@pytest.mark.parametrize("base", [Fine, Plain], ids=lambda base: base.__name__)
@pytest.mark.parametrize("wrong, meant", MISSPELT)
def test_a_misspelt_power_is_an_error_on_the_class_and_on_the_instance(wrong, meant, base):
    message = rf"\w+\.{wrong} is not read by the harness; did you mean '{meant}'"
    on_class = type("OnClass", (base,), {wrong: ("x",)})

    def on_instance():
        module = base()
        setattr(module, wrong, ("x",))
        return module

    for build in (on_class, on_instance):
        with subject_of(build) as subject, pytest.raises(Broken, match=message):
            contract.names_are_the_contracts(subject)


def test_names_that_only_resemble_the_contracts_are_free():
    class Free(Fine):
        latent_std, unused, predicts = 1.0, 2, True

        def __init__(self):
            super().__init__()
            self.head_parameter = nn.Conv2d(1, 1, 1)  # a layer is no misspelt power

        def losses(self):
            return {}

        def prepare(self, images):
            return images

    with subject_of(Free) as subject:
        assert contract.names_are_the_contracts(subject) == "declares loss, predict"


POWERS = [
    ({"latent_inputs": ("images",)}, "'images'; latents are of image and mask"),
    ({"latent_inputs": ("image",)}, "needs SPEC.tokenizer"),
    ({"latent_inputs": "image"}, r"it must be a tuple of texts, such as \('a',\)"),
    ({"unused_parameters": "head.bias"}, "must be a tuple of texts"),
    ({"unused_parameters": ("head.bais",)}, "'head.bais', and no parameter has that name"),
    ({"head_parameters": ("haed.",)}, "'haed.', and no parameter's name begins so"),
    ({"footnotes": "from scratch"}, "must be a tuple of texts"),
    ({"bf16_unsupported": True}, "must be a text that says why"),
    ({"overfit_steps": 0}, "overfit_steps is 0; it must be a positive"),
]


@pytest.mark.parametrize("powers, message", POWERS)
def test_a_power_with_a_wrong_value_is_an_error(powers, message):
    module = type("Wrong", (Fine,), powers)
    with subject_of(module) as subject, pytest.raises(Broken, match=message):
        contract.declared_powers_are_valid(subject)


class ReadsMaskLatents(Fine):
    """Its loss reads the latents of masks."""

    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"] + batch.mask_latents.mean() * 0}


def test_latents_that_are_not_declared_are_not_in_the_batch():
    declared = type("Declared", (ReadsMaskLatents,), {"latent_inputs": ("mask",)})
    with subject_of(declared, tokenizer="continuous") as subject:
        assert contract.loss_is_finite(subject)
        batch = subject.batch(2)
        assert (batch.image_latents, batch.image_latents_std) == (None, None)
        assert batch.mask_latents.shape[:2] == (2, subject.tokenizer.latent_channels)
    undeclared = subject_of(ReadsMaskLatents, tokenizer="continuous")
    with undeclared as subject, pytest.raises(AttributeError, match="'NoneType' object has no"):
        contract.loss_is_finite(subject)


def test_parameters_of_a_network_are_named_as_its_author_names_them():
    class Spared(Plain):
        unused_parameters = ("spare.weight",)

        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 2, bias=False)

    with subject_of(Spared) as subject:
        assert contract.declared_powers_are_valid(subject)
        assert contract.gradients_reach_what_trains(subject).endswith("1 are declared unused")


class OneSetting(Settings):
    width: int = 4


@pytest.mark.parametrize(
    "presets, message",
    [
        ({"lihgt": {}}, "No preset named 'lihgt'. Did you mean 'light'"),
        ({"light": {"widht": 2}}, "Settings of preset 'light' of method 'fine': widht=2"),
        ({"minimal": {"width": "wide"}}, "preset 'minimal'.*width='wide'"),
    ],
)
def test_presets_hold_settings_of_the_method_under_known_names(presets, message):
    subject = subject_of(Fine, settings=OneSetting, presets=presets)
    with subject, pytest.raises(BenchError, match=message):
        contract.presets_are_settings(subject)


def test_what_never_learns_fails_to_overfit():
    with subject_of(NeverLearns) as subject, pytest.raises(Broken, match="Best DSC.*after 2 steps"):
        contract.overfits(subject, steps=2, check_every=1)


def test_overfitting_stops_at_the_target(monkeypatch):
    monkeypatch.setattr(contract, "TARGET_DSC", -1.0)
    with subject_of(Fine) as subject:
        assert contract.overfits(subject, steps=40, check_every=1).endswith("after 1 of 40 steps")


@pytest.mark.parametrize("base", [Fine, Plain], ids=lambda base: base.__name__)
def test_declared_bf16_trouble_is_a_reason_to_skip(base):
    module = type("Float32", (base,), {"bf16_unsupported": "a kernel is missing"})
    with subject_of(module) as subject, pytest.raises(Skipped, match="a kernel is missing"):
        contract.runs_in_bfloat16(subject)


@pytest.mark.parametrize("base", [Fine, Plain], ids=lambda base: base.__name__)
def test_a_method_may_ask_for_more_steps_to_overfit(base):
    module = type("Slow", (base,), {"overfit_steps": 3})
    with subject_of(module) as subject, pytest.raises(Broken, match="after 3 steps"):
        contract.overfits(subject, steps=1, check_every=1)


def test_settings_that_take_unknown_fields_are_found():
    class Loose(Settings):
        model_config = {"extra": "allow"}

    with subject_of(Fine, settings=Loose) as subject, pytest.raises(Broken, match="forbid"):
        contract.settings_are_frozen(subject)


def test_incomplete_facts_are_found():
    with subject_of(Fine, citation="") as subject, pytest.raises(Broken, match="leaves citation"):
        contract.facts_are_complete(subject)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with subject_of(Fine) as subject:
        contract.same_seed_same_result(subject)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def raises(error):
    def action():
        raise error

    return action


def test_a_report_lists_pass_fail_skip_and_what_could_not_run():
    steps = [
        ("fine", lambda: "seen"),
        ("absent", raises(Skipped("no such part"))),
        ("crash", raises(KeyError("x"))),
        ("vital", raises(Broken("change this"))),
        ("after", lambda: "never reached"),
    ]
    found = run_checks(steps, vital=frozenset({"vital"}))
    assert [check.status for check in found] == ["pass", "skip", "fail", "fail", "skip"]
    line = raises.__code__.co_firstlineno + 2
    assert found[2].message == f"KeyError: 'x' (at test_check.py:{line} in action)"
    assert found[3].message == "change this"
    assert found[4].message == "not tried: `vital` has to pass first"


def test_each_check_is_told_as_it_ends_and_given_up_after_its_time():
    seen: list[str] = []

    def endless():
        assert seen == ["fine pass"]
        while True:
            with contextlib.suppress(Exception):  # what a plugin may swallow
                time.sleep(0.01)

    steps = [("fine", lambda: "seen"), ("endless", endless), ("after", lambda: "reached")]
    found = run_checks(
        steps, on_check=lambda check: seen.append(f"{check.name} {check.status}"), give_up=0.2
    )
    assert seen == ["fine pass", "endless fail", "after pass"]
    assert found[1].message.startswith("Given up after 0.2 s.")


def test_a_dataset_whose_default_split_cannot_be_made_does_not_pass(tmp_path):
    source = make_busi(tmp_path, benign=1, malignant=0)
    prepare(load_card("busi"), source, tmp_path / "data")
    report = check_dataset("busi", tmp_path / "data")
    (splits,) = [check for check in report.checks if check.name == "splits"]
    assert splits.status == "fail"
    assert "The default split cannot be made: busi has 1 case(s)" in splits.message


def test_a_card_of_ones_own_is_checked_by_its_name(tmp_path):
    file = tmp_path / "mine.toml"
    text = (shipped("datasets") / "busi.toml").read_text()
    file.write_text(text.replace('name = "busi"', 'name = "mine"', 1))
    assert check_dataset("mine", cards=[file]).checks[0].status == "pass"


def test_a_report_is_json_able(tmp_path):
    file = tmp_path / "nothing.py"
    file.write_text(
        "from bench.contracts import MethodSpec\n"
        "SPEC = MethodSpec(name='nothing', title='Nothing', family='CNN', summary='none',\n"
        "                  citation='none', build=lambda settings, context: None)\n"
    )
    report = check_method(str(file))
    assert not report.passed
    assert report.failures().startswith("builds: build() returns NoneType; return a torch.nn.Mod")
    assert json.loads(report.model_dump_json())["checks"][5]["status"] == "skip"


def test_unknown_methods_and_settings_are_refused_at_once():
    with pytest.raises(BenchError, match="Did you mean 'unet'"):
        check_method("unett")
    with pytest.raises(BenchError, match="Settings of method 'unet'.*depth=3"):
        check_method("unet", {"depth": 3})


TOKENIZER = '''
import torch, torch.nn.functional as F
from bench.tokenizers.base import FrozenTokenizer
from bench.tokenizers.spec import TokenizerSpec

class Blocks(FrozenTokenizer):
    """Averages of 4x4 pixels, painted back bilinearly; `fault` breaks one thing."""
    latent_channels, factor = 3, 4
    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.weight = torch.nn.Parameter(torch.ones(1))
        if fault != "trains":
            self.freeze()
    def encode(self, images):
        pooled = F.avg_pool2d(images, 2 if self.fault == "factor" else 4)
        return pooled + (torch.rand(1) if self.fault == "noise" else 0)
    def decode(self, latents):
        scale = 9.0 if self.fault == "range" else 1.0
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.fault != "no_grad"):
            return scale * F.interpolate(latents * self.weight, scale_factor=4, mode="bilinear")

def load(spec, files, location, weights):
    return Blocks(spec.name.removeprefix("blocks-"))

FAULTS = ("fine", "trains", "factor", "noise", "range", "no_grad")
SPECS = [TokenizerSpec(name=f"blocks-{f}", summary="blocks", role="continuous",
                       loader=load, source="none", wanted=("w",))
         for f in FAULTS]
'''


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> Path:
    """A plugin with tokenizers, and a folder that stands for their weights."""
    folder = tmp_path_factory.mktemp("blocks")
    (folder / "blocks.py").write_text(TOKENIZER)
    (folder / "w").write_text("weights")
    use_plugin_files([folder / "blocks.py"])
    return folder


@pytest.mark.parametrize(
    "fault, failed, message",
    [
        ("fine", None, ""),
        ("trains", "loads", "call requires_grad_"),
        ("factor", "shapes", "not float32"),
        ("noise", "modes", "differs after train"),
        ("range", "range", "images lie in"),
        ("no_grad", "gradient", "RuntimeError"),
    ],
)
def test_tokenizers_are_checked_with_their_weights(fault, failed, message, blocks):
    report = check_tokenizer(f"blocks-{fault}@{blocks}")
    found = {check.name: check.message for check in report.checks if check.status == "fail"}
    if failed is None:
        assert report.passed, report.failures()
    else:
        assert message in found[failed]


def test_a_tokenizer_without_weights_says_where_they_come_from(blocks):
    report = check_tokenizer("blocks-fine@nowhere")
    assert not report.passed
    assert "has no weights here" in report.checks[0].message


def test_unknown_tokenizers_and_datasets_are_refused():
    with pytest.raises(BenchError, match="No tokenizer named 'tiny-kk'. Did you mean 'tiny-kl'"):
        check_tokenizer("tiny-kk")
    with pytest.raises(BenchError, match="No dataset named 'bussi'. Did you mean 'busi'"):
        check_dataset("bussi")


def test_a_card_without_data_is_checked_alone():
    report = check_dataset("busi")
    assert report.passed
    assert [check.status for check in report.checks] == ["pass"] + ["skip"] * 6
    assert "no data folder is named" in report.checks[1].message


def test_a_file_that_is_no_card_fails_with_its_fault(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n')
    report = check_dataset(str(file))
    assert report.checks[0].status == "fail"
    assert "is not a dataset card" in report.checks[0].message
    assert {check.status for check in report.checks[1:]} == {"skip"}
