"""The convolutional methods: exact counts, odd behaviours kept on purpose, losses, operators."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Batch, BuildContext, MethodSpec
from bench.core.errors import BenchError
from bench.training.build import build_method
from bench.training.losses import get_loss
from bench.training.schedule import learning_rate
from methods import acc_unet, dsu, ege_unet, mixstyle, multiresunet, nnunet, unet
from methods.dsu import DistributionUncertainty
from methods.ege_unet import HadamardAttention
from methods.layers.recipes import ACC_UNET
from methods.mixstyle import MixStyle
from methods.multiresunet import MultiResUNet, ResPath, branch_widths
from methods.nnunet import dice_cross_entropy
from methods.smp import family

META = BuildContext(224, None, load_weights=False)
SPECS = [m.SPEC for m in (unet, multiresunet, acc_unet, nnunet, ege_unet, mixstyle, dsu)]


def built(spec: MethodSpec, **settings) -> nn.Module:
    return spec.build(spec.settings(**settings), META)


def normalised(spec: MethodSpec, how: str, **settings) -> nn.Module:
    """The method under a recipe that names its normalisation."""
    recipe = spec.recipe.model_copy(update={"normalise": how})
    return build_method(spec, spec.settings(**settings), META, recipe)


def small(spec: MethodSpec, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return built(spec, **spec.reduced)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "spec, parameters, tensors, gmacs",
    [
        (unet.SPEC, 14_751_873, 78, 22.646),
        (multiresunet.SPEC, 7_251_322, 292, 12.001),
        (acc_unet.SPEC, 16_771_245, 918, 23.451),  # 42.964 as released, see below
        (nnunet.SPEC, 20_619_658, 108, 10.913),
        (ege_unet.SPEC, 53_374, 314, 0.055201),
        # By default without the backbone's frozen batch norms: 53 x 2 tensors.
        (mixstyle.SPEC, 39_633_729 - 53_120, 182 - 106, 31.307),
        (dsu.SPEC, 39_633_729 - 53_120, 182 - 106, 31.307),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_parameters_are_exact_and_gmacs_agree_to_five_digits(spec, parameters, tensors, gmacs):
    with torch.device("meta"):
        module, images = built(spec).eval(), torch.zeros(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(images)
    assert count(module) == parameters
    assert len(list(module.parameters())) == tensors
    assert float(f"{counter.get_total_flops() / 2e9:.5g}") == gmacs


@pytest.mark.parametrize("spec", [mixstyle.SPEC, dsu.SPEC], ids=lambda spec: spec.name)
def test_the_host_from_scratch_trains_its_batch_norms_too(spec):
    with torch.device("meta"):
        host = built(spec, **spec.presets["light"])
    assert count(host) == 39_633_729
    assert len(list(host.parameters())) == 182


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_parameter_gets_a_finite_gradient_except_the_declared(spec):
    module = small(spec).train()
    batch = Batch(torch.rand(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float())
    if hasattr(module, "loss"):
        module.loss(batch)["loss"].backward()
    else:
        get_loss(spec.recipe.loss)(module(batch.images), batch.masks).backward()
    missing = [name for name, p in module.named_parameters() if p.grad is None]
    assert missing == list(getattr(module, "unused_parameters", []))
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_spec_says_where_it_comes_from(spec):
    assert spec.citation and spec.upstream and spec.licence and spec.summary
    assert spec.recipe.name not in ("", "shared")
    get_loss(spec.recipe.loss)


def test_the_first_unet_level_has_one_unit_and_the_bottleneck_does_not_widen():
    network = built(unet.SPEC)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs[:9]] == [64, 128, 128, 256, 256, 512, 512, 512, 512]


@pytest.mark.parametrize(
    "width, expected",
    [(32, [8, 17, 26]), (64, [17, 35, 53]), (256, [71, 142, 213]), (512, [142, 284, 427])],
)
def test_multires_branch_widths_are_floored(width, expected):
    assert branch_widths(width, 1.67) == expected


def test_a_res_path_step_uses_one_batch_norm_twice():
    path = ResPath(3, 4, length=1).train()
    path(torch.rand(2, 3, 8, 8))
    assert int(path.norms[0].num_batches_tracked) == 2


def test_multiresunet_normalises_its_single_logit():
    logits = MultiResUNet(base_channels=8).train()(torch.rand(4, 3, 32, 32))
    assert float(logits.detach().mean()) == pytest.approx(0, abs=1e-5)
    assert float(logits.detach().std(correction=0)) == pytest.approx(1, abs=1e-2)


def stacked(maps: list[torch.Tensor]) -> torch.Tensor:
    """The versions of a channel lie side by side."""
    return torch.stack(maps, dim=2).flatten(1, 2)


def released_aggregate(self, x):
    """Enlarge, stack, convolve."""
    scales = [2**i for i in range(1, self.k)]
    means = [F.interpolate(F.avg_pool2d(x, s), scale_factor=s) for s in scales]
    peaks = [F.interpolate(F.max_pool2d(x, s), scale_factor=s) for s in scales]
    return self.mix(stacked([x, *means, *peaks]))


def released_level(self, i, levels):
    """Bring to one size, stack, convolve."""
    sized = []
    for j, x in enumerate(levels):
        for _ in range(abs(j - i)):
            x = F.interpolate(x, scale_factor=2) if j > i else F.avg_pool2d(x, 2)
        sized.append(x)
    gathered = F.leaky_relu(self.gather_norms[i](self.gathers[i](torch.cat(sized, 1))))
    merged = self.merges[i](stacked([gathered, levels[i]])) + levels[i]
    return self.excites[i](F.leaky_relu(self.merge_norms[i](merged)))


@pytest.fixture
def as_released(monkeypatch):
    monkeypatch.setattr(acc_unet.Aggregate, "forward", released_aggregate)
    monkeypatch.setattr(acc_unet.MultiLevelCompilation, "_level", released_level)


def acc_unet_run() -> tuple[torch.Tensor, torch.Tensor]:
    """(logits, gradient of all parameters) of one training step in float64."""
    network = small(acc_unet.SPEC).double().train()
    generator = torch.Generator().manual_seed(1)
    logits = network(torch.rand(2, 3, 48, 48, generator=generator, dtype=torch.float64))
    logits.square().mean().backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in network.parameters()])


def test_acc_unet_equals_the_released_form(request):
    logits, gradient = acc_unet_run()
    request.getfixturevalue("as_released")
    released, slope = acc_unet_run()
    assert float((logits - released).abs().max() / released.abs().max()) < 1e-11
    assert float((gradient - slope).abs().max() / slope.abs().max()) < 1e-9


def test_acc_unet_in_the_released_form_has_the_released_operations(as_released):
    with torch.device("meta"):
        network, images = built(acc_unet.SPEC).eval(), torch.zeros(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    assert float(f"{counter.get_total_flops() / 2e9:.5g}") == 42.964


def test_one_acc_unet_block_expands_34_fold():
    network = built(acc_unet.SPEC)
    folds = {
        module.expand[0].out_channels // module.expand[0].in_channels
        for module in network.modules()
        if isinstance(module, acc_unet.HancBlock)
    }
    assert folds == {3, 34}


def test_the_acc_unet_recipe_restarts_its_cosine_every_ten_epochs():
    rates = [learning_rate(ACC_UNET, epoch, 0, 10) for epoch in (0, 5, 10, 20)]
    assert rates == pytest.approx([1e-3, 5.5e-4, 1e-3, 1e-3])


def test_the_ege_unet_recipe_falls_and_rises_again():
    rates = [learning_rate(ege_unet.RECIPE, epoch, 0, 10) for epoch in (0, 50, 75, 100, 150)]
    assert rates == pytest.approx([1e-3, 1e-5, 5.05e-4, 1e-3, 1e-5])


def test_nnunet_has_five_heads_of_two_classes():
    shapes = [tuple(x.shape) for x in small(nnunet.SPEC).all_logits(torch.rand(1, 3, 64, 64))]
    assert shapes == [(1, 2, side, side) for side in (64, 32, 16, 8, 4)]


def test_nnunet_dice_is_pooled_over_the_batch():
    # Certain and right in one image, certain and wrong in the other (8 of 16 pixels each):
    # pooled overlap 4, sizes 8 + 8, so Dice 0.5; half the pixels cost 30 nats.
    masks = torch.zeros(2, 1, 2, 4)
    masks[:, :, 0] = 1
    foreground = torch.where(masks > 0, 30.0, 0.0)
    foreground[1] = 30.0 - foreground[1]
    logits = torch.cat([30.0 - foreground, foreground], dim=1)
    assert dice_cross_entropy(logits, masks).item() == pytest.approx(15 + 0.5, abs=1e-4)


def test_nnunet_averages_over_flips_so_a_flipped_image_gives_the_flipped_answer():
    method, images = built(nnunet.SPEC, base_channels=8).eval(), torch.rand(2, 3, 64, 64)
    flipped = method.predict(images.flip(3)).flip(3)
    assert torch.allclose(method.predict(images), flipped, atol=1e-5)
    assert not torch.allclose(method.predict_step(images), method.predict(images), atol=1e-5)


def test_nnunet_zscore_ignores_the_scale_of_each_channel():
    method = normalised(nnunet.SPEC, "zscore", base_channels=4).eval()
    images = torch.rand(1, 3, 64, 64)
    scaled = images * torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1) + 0.05
    assert torch.allclose(method.predict(images), method.predict(scaled), atol=1e-4)


def test_ege_unet_side_logits_run_from_coarse_to_fine():
    logits, sides = built(ege_unet.SPEC).all_logits(torch.rand(1, 3, 64, 64))
    assert logits.shape == (1, 1, 64, 64)
    assert [side.shape[-1] for side in sides] == [2, 4, 8, 16, 32]


def blank(n: int = 2, size: int = 8) -> Batch:
    """Images and masks of zeros."""
    return Batch(torch.zeros(n, 3, size, size), torch.zeros(n, 1, size, size))


def test_ege_unet_weighs_its_side_outputs_from_coarse_to_fine(monkeypatch):
    """Logit -inf on a blank mask costs nothing, so one side output at a time shows its weight."""
    method, sure = built(ege_unet.SPEC), -50.0
    cost = ege_unet.bce_dice(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)).item()
    for index, weight in enumerate((0.1, 0.2, 0.3, 0.4, 0.5)):
        sides = [torch.full((2, 1, 4, 4), sure) for _ in range(5)]
        sides[index] = torch.zeros(2, 1, 4, 4)
        outputs = torch.full((2, 1, 8, 8), sure), sides
        monkeypatch.setattr(method, "all_logits", lambda images, outputs=outputs: outputs)
        losses = {name: float(value) for name, value in method.loss(blank()).items()}
        expected = {"loss": weight * cost, "main": 0.0, "side": weight * cost}
        assert losses == pytest.approx(expected, abs=1e-5)


def test_ege_unets_loss_adds_its_output_at_full_weight(monkeypatch):
    method = built(ege_unet.SPEC)
    outputs = torch.zeros(2, 1, 8, 8), [torch.full((2, 1, 4, 4), -50.0)] * 5
    monkeypatch.setattr(method, "all_logits", lambda images: outputs)
    losses = method.loss(blank())
    cost = math.log(2) + 1 - 1 / (0.5 * 64 + 1)
    assert float(losses["loss"]) == pytest.approx(cost, abs=1e-5)
    assert float(losses["main"]) == pytest.approx(cost, abs=1e-5)


@pytest.mark.parametrize("how, seen", [("own", [0.0, 255.0]), ("none", [0.25, 0.75])])
def test_ege_unet_trains_and_predicts_on_stretched_images(monkeypatch, how, seen):
    method = normalised(ege_unet.SPEC, how)
    given = []

    def all_logits(images):
        given.append(images.unique().tolist())
        return images[:, :1] * 0, [images[:, :1] * 0] * 5

    monkeypatch.setattr(method, "all_logits", all_logits)
    batch = blank()
    batch.images += torch.tensor([0.25, 0.75]).repeat(4)
    method.loss(batch)
    assert method.predict(batch.images).unique().tolist() == [0.5]  # sigmoid of 0
    assert given == [seen, seen]


def test_nnunet_weighs_four_heads_by_halves_and_the_coarsest_not_at_all(monkeypatch):
    """Certain and right heads cost nothing, so one undecided head at a time shows its weight."""
    method = small(nnunet.SPEC)

    def logits(size: int, certainty: float) -> torch.Tensor:
        return torch.tensor([certainty, -certainty]).view(1, 2, 1, 1).expand(2, 2, size, size)

    batch = blank(size=64)
    batch.masks[:] = 1
    for index, weight in enumerate((8 / 15, 4 / 15, 2 / 15, 1 / 15, 0)):
        heads = [logits(64 // 2**i, -30.0) for i in range(5)]
        heads[index] = logits(64 // 2**index, 0.0)
        monkeypatch.setattr(method, "all_logits", lambda images, heads=heads: heads)
        cost = math.log(2) + 1 - 2 * 0.5 / (0.5 + 1)
        assert float(method.loss(batch)["loss"]) == pytest.approx(weight * cost, abs=1e-5)


def test_nnunets_cross_entropy_and_dice_of_four_pixels():
    masks = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1, 0, 0] = math.log(3)  # foreground 3/4 there, 1/2 elsewhere
    entropy = (math.log(4 / 3) + 3 * math.log(2)) / 4
    dice = 2 * 0.75 / (0.75 + 1.5 + 1)
    assert dice_cross_entropy(logits, masks).item() == pytest.approx(entropy + 1 - dice, abs=1e-5)


def test_nnunet_averages_logits_over_four_flips(monkeypatch):
    """The foreground logit is the mean of an image's left half: a, b, a, b over the flips."""
    method, images = small(nnunet.SPEC).eval(), torch.zeros(1, 3, 4, 4)
    method.settings = method.settings.model_copy(update={"mirroring": True})
    images[..., :2] = 1.0

    def forward(images):
        left = images[:, :1, :, :2].mean((2, 3), keepdim=True).expand(-1, 1, 4, 4)
        return torch.cat([torch.zeros_like(left), left], dim=1)

    monkeypatch.setattr(method, "forward", forward)
    step, whole = method.predict_step(images), method.predict(images)
    torch.testing.assert_close(step, torch.full((1, 1, 4, 4), 1 / (1 + math.exp(-1))))
    torch.testing.assert_close(whole, torch.full((1, 1, 4, 4), 1 / (1 + math.exp(-0.5))))


def test_nnunet_normalises_for_loss_predict_and_step(monkeypatch):
    method = normalised(nnunet.SPEC, "zscore", base_channels=4).eval()
    seen = []

    def features(images):
        seen.append(images)
        return [torch.zeros(2, 64, 4, 4)] * 5

    monkeypatch.setattr(method, "_features", features)
    monkeypatch.setattr(method, "all_logits", lambda x: (features(x), [torch.zeros(2, 2, 8, 8)])[1])
    monkeypatch.setattr(method, "forward", lambda x: (features(x), torch.zeros(2, 2, 8, 8))[1])
    batch = blank()
    batch.images += torch.tensor([0.25, 0.75]).repeat(4)
    method.loss(batch)
    method.predict_step(batch.images)
    method.predict(batch.images)
    assert len(seen) == 1 + 1 + 4
    for images in seen:
        assert images.unique().tolist() == [-1.0, 1.0]


def test_hadamard_maps_start_at_one_and_fit_any_size():
    attention = HadamardAttention(8, 12)
    assert {float(m.min()) for m in (attention.plane, attention.rows, attention.columns)} == {1.0}
    assert attention(torch.rand(1, 8, 5, 9)).shape == (1, 12, 5, 9)


def test_ege_unet_refuses_widths_that_four_groups_cannot_share():
    with pytest.raises(ValidationError, match="multiples of 4, got"):
        ege_unet.SPEC.settings(widths=(8, 16, 24, 32, 48, 66))


def test_ege_unet_bce_dice_smooths_by_one():
    logits, masks = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    expected = math.log(2) + 1 - (2 * 2 + 1) / (2 + 4 + 1)
    assert ege_unet.bce_dice(logits, masks).item() == pytest.approx(expected)


OPERATORS = [MixStyle, DistributionUncertainty]


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_do_nothing_in_eval_mode_or_to_a_single_image(operator):
    x = torch.randn(4, 3, 8, 8)
    assert operator(1.0).eval()(x) is x
    assert operator(1.0).train()(x[:1]).equal(x[:1])
    assert not list(operator().parameters())


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_toss_a_fair_coin_from_torchs_generator(operator):
    x, module = torch.randn(4, 3, 8, 8), operator().train()

    def changed(seed: int) -> list[bool]:
        torch.manual_seed(seed)
        return [not module(x).equal(x) for _ in range(200)]

    assert changed(0) == changed(0) != changed(1)
    assert 70 < sum(changed(0)) < 130


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_change_style_and_keep_content(operator):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 16, 16) * 2 + 1
    styled = operator().restyled(x)

    def content(features):
        var, mean = torch.var_mean(features, dim=(2, 3), keepdim=True)
        return (features - mean) / var.sqrt()

    assert not torch.allclose(styled, x, atol=1e-2)
    assert torch.allclose(content(styled), content(x), atol=1e-3)


def test_mixstyle_statistics_lie_between_those_of_the_batch():
    torch.manual_seed(0)
    x = torch.randn(6, 2, 16, 16) + torch.arange(6.0).view(6, 1, 1, 1)
    means, mixed = x.mean((2, 3)), MixStyle().restyled(x).mean((2, 3))
    assert (mixed >= means.amin(0) - 1e-4).all() and (mixed <= means.amax(0) + 1e-4).all()


def test_gradients_pass_through_dsu_statistics_but_not_through_mixstyles():
    # A shift of the whole channel: normalising removes it, so only the statistics can carry it.
    def gradient(restyle) -> float:
        torch.manual_seed(0)
        x = torch.randn(4, 2, 8, 8, requires_grad=True)
        restyle(x).sum().backward()
        return float(x.grad.sum())

    assert gradient(DistributionUncertainty().restyled) == pytest.approx(4 * 2 * 64, rel=0.05)
    assert gradient(MixStyle().restyled) != pytest.approx(4 * 2 * 64, rel=0.05)


def test_operators_stand_behind_the_named_stages():
    def places(spec, kind):
        network = small(spec).network.backbone
        return [
            name
            for name, stage in network.items()
            if any(type(m) is kind for m in [*stage.modules()][1:])
        ]

    assert places(mixstyle.SPEC, MixStyle) == ["layer1", "layer2"]
    assert places(dsu.SPEC, DistributionUncertainty) == [
        "conv1", "maxpool", "layer1", "layer2", "layer3", "layer4",
    ]  # fmt: skip


@pytest.mark.parametrize("spec", [mixstyle.SPEC, dsu.SPEC], ids=lambda spec: spec.name)
def test_deeplab_refuses_to_train_on_one_image(spec):
    with pytest.raises(BenchError, match="batch of 1.*at least 2"):
        small(spec).train()(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"pretrained": "imagenet", "width": 8}, "ImageNet weights exist for width 64, not 8"),
        ({"pretrained": "none"}, "Set frozen_norm=false as well, or pretrained=imagenet"),
    ],
)
def test_deeplab_refuses_settings_that_contradict(settings, text):
    with pytest.raises(BenchError, match=text):
        built(mixstyle.SPEC, **settings)


def test_deeplab_never_replaces_missing_weights_by_random_ones(monkeypatch):
    from torchvision.models import ResNet50_Weights

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", offline)
    with pytest.raises(BenchError, match="cannot be fetched: no route to host.*pretrained=none"):
        mixstyle.SPEC.build(mixstyle.SPEC.settings(pretrained="imagenet"), BuildContext(64))


def test_frozen_norm_takes_the_batch_norms_of_the_backbone_out_of_training():
    with torch.device("meta"):
        host = built(dsu.SPEC, pretrained="imagenet", frozen_norm=True)
    assert count(host) == 39_633_729 - 53_120


def test_smp_builds_any_architecture_on_any_encoder():
    for name in ("unet/resnet18", "fpn/tu-test_resnet", "segformer/mit_b0"):
        spec = family(name)
        with torch.device("meta"):
            network = spec.build(spec.settings(), META).eval()
            assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64), name
    assert count(built(family("unet/resnet18"))) == 14_328_209
    assert family("unet/resnet18").size.fit(224) == 224
    assert family("dpt/tu-vit_tiny_patch16_224").size.multiple == 16


@pytest.mark.parametrize(
    "name, text",
    [
        ("unet", "must read smp:<architecture>/<encoder>, for example smp:unet/resnet34"),
        ("unt/resnet34", "No smp architecture named 'unt'. Did you mean 'unet'"),
        ("unet/resnt34", "No smp encoder named 'resnt34'. Nearest: resnet34"),
        ("unet/tu-nothing", "any model of timm with the prefix tu-"),
    ],
)
def test_smp_names_the_nearest_match(name, text):
    with pytest.raises(BenchError, match=text):
        family(name)


@pytest.mark.parametrize(
    "name, settings, text",
    [
        ("unet/resnet18", {"weights": "imagnet"}, "Did you mean 'imagenet'"),
        ("unet/tu-resnet18", {"weights": "ssl"}, "takes weights='imagenet'"),
        ("unet/resnet18", {"options": {"encoder_dept": 4}}, "Did you mean 'encoder_depth'"),
        ("unet/resnet18", {"options": {"classes": 2}}, "No option of Unet named 'classes'"),
        ("unetplusplus/mit_b0", {}, "cannot build unetplusplus on mit_b0"),
    ],
)
def test_smp_refuses_what_the_library_cannot_do(name, settings, text):
    spec = family(name)
    with pytest.raises(BenchError, match=text):
        spec.build(spec.settings(**settings), BuildContext(64))


def test_smp_never_replaces_missing_weights_by_random_ones(monkeypatch):
    from segmentation_models_pytorch import encoders

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(encoders, "hf_hub_download", offline)
    spec = family("unet/resnet18")
    with pytest.raises(BenchError, match="cannot be loaded: no route to host.*weights=null"):
        spec.build(spec.settings(weights="imagenet"), BuildContext(64))
