"""The open family `smp:<architecture>/<encoder>`: networks of segmentation_models.pytorch.

Architectures are the library's own (unet, unetplusplus, manet, linknet, fpn, pspnet, deeplabv3,
deeplabv3plus, pan, upernet, segformer, dpt); encoders are its own (resnet34, mit_b0, ...) or any of
timm's with the prefix `tu-` (tu-convnext_tiny, tu-resnet18.a1_in1k). Weights start at random unless
the setting `weights` names pretrained ones; nothing is fetched otherwise. With pretrained weights
images are normalised by the encoder's own mean and SD, without them they stay in [0, 1].
"""

import difflib
import inspect
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.encoders import encoders as smp_encoders
from segmentation_models_pytorch.encoders import get_preprocessing_params
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from bench.core.errors import BenchError, unknown_name
from bench.method import Normalisation

ARCHITECTURES: dict[str, type[nn.Module]] = dict(smp.MODEL_ARCHITECTURES_MAPPING)
EXAMPLE = "smp:unet/resnet34 or smp:fpn/tu-convnext_tiny"


class SmpSettings(Settings):
    """weights: pretrained encoder weights, such as "imagenet"; None starts at random.

    options: further keyword arguments of the architecture's class in the library, for instance
    {"encoder_depth": 4, "decoder_channels": [128, 64, 32, 16]}.
    """

    weights: str | None = None
    options: dict[str, Any] = {}


class SmpNetwork(nn.Module):
    """Images (N, 3, H, W), normalised, to logits (N, 1, H, W).

    A wrapper, because the library's own class has a `predict` of another meaning and a
    `load_state_dict` that renames keys.
    """

    def __init__(self, network: nn.Module, normalisation: Normalisation):
        super().__init__()
        self.normalisation = normalisation
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def family(rest: str) -> MethodSpec:
    """The method `smp:<rest>`, rest being "<architecture>/<encoder>".

    Raises BenchError for another form, or an unknown architecture or encoder, with the nearest.
    """
    architecture, slash, encoder = rest.partition("/")
    if not (architecture and slash and encoder):
        raise BenchError(
            f"Method 'smp:{rest}' must read smp:<architecture>/<encoder>, for example {EXAMPLE}."
        )
    if architecture not in ARCHITECTURES:
        raise unknown_name("smp architecture", architecture, ARCHITECTURES)
    _require_encoder(encoder)

    def build(settings: SmpSettings, context: BuildContext) -> nn.Module:
        return _build(architecture, encoder, settings, context)

    title = ARCHITECTURES[architecture].__name__
    return MethodSpec(
        name=f"smp:{rest}",
        title=f"{title} ({encoder})",
        family="smp",
        build=build,
        summary=f"{title} of segmentation_models.pytorch on the encoder {encoder}",
        citation="Iakubovskii. Segmentation Models Pytorch. 2019. "
        "github.com/qubvel-org/segmentation_models.pytorch",
        upstream=f"segmentation_models.pytorch {smp.__version__}, timm {timm.__version__}",
        licence="MIT",
        settings=SmpSettings,
        weights_setting="weights",
        size=SizeRule(multiple=_size_multiple(architecture, encoder)),
    )


def _require_encoder(encoder: str) -> None:
    if encoder in smp_encoders:
        return
    if encoder.startswith("tu-") and timm.is_model(encoder.removeprefix("tu-")):
        return
    known = [*smp_encoders, *(f"tu-{name}" for name in timm.list_models())]
    near = difflib.get_close_matches(encoder, known, n=3, cutoff=0.5)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    raise BenchError(
        f"No smp encoder named {encoder!r}.{hint} Give one of the library's own (resnet34, "
        "efficientnet-b0, mit_b0, ...) or any model of timm with the prefix tu-."
    )


def _size_multiple(architecture: str, encoder: str) -> int:
    """Five halvings make 32; DPT cuts the image into a vision transformer's patches instead."""
    if architecture != "dpt":
        return 32
    with torch.device("meta"):
        transformer = timm.create_model(encoder.removeprefix("tu-"))
    patch = getattr(getattr(transformer, "patch_embed", None), "patch_size", (32,))
    return int(patch[0])


def _build(
    architecture: str, encoder: str, settings: SmpSettings, context: BuildContext
) -> SmpNetwork:
    create = ARCHITECTURES[architecture]
    _require_options(create, encoder, settings.options)
    options = _fixed_size(encoder, context.image_size) | settings.options

    def network(weights: str | bool | None) -> nn.Module:
        # Some encoders compute numbers with tensors while they are built: impossible on "meta".
        with torch.device("cpu"):
            built = create(encoder_name=encoder, encoder_weights=weights, classes=1, **options)
        return built.to(torch.get_default_device())

    # Without weights first: then an error below can only come from the weights.
    try:
        untrained = network(None)
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise BenchError(
            f"segmentation_models.pytorch cannot build {architecture} on {encoder} with "
            f"{options}: {error}. Choose another encoder or change the setting 'options'."
        ) from error
    if settings.weights is None:
        return SmpNetwork(untrained, "none")
    _require_weights(encoder, settings.weights)
    if not context.load_weights:
        return SmpNetwork(untrained, "encoder")
    try:
        trained = network(True if encoder.startswith("tu-") else settings.weights)
        own = _normalisation(encoder, settings.weights)
    except Exception as error:  # any failure of a download, under whatever name the hub gives it
        raise BenchError(
            f"The {settings.weights!r} weights of encoder {encoder} cannot be loaded: {error}. "
            "Connect to the Hugging Face hub or fill its cache (HF_HOME), or set weights=null to "
            "start at random."
        ) from error
    return SmpNetwork(trained, own)


def _require_options(create: type[nn.Module], encoder: str, options: dict[str, Any]) -> None:
    """The library passes unknown options on to the encoder, and its own encoders ignore them."""
    taken = {"self", "kwargs", "encoder_name", "encoder_weights", "in_channels", "classes"}
    taken |= {"activation", "aux_params"}  # would turn the logits into something else
    known = set(inspect.signature(create.__init__).parameters) - taken
    for name in options:
        if name not in known and not (encoder.startswith("tu-") and name not in taken):
            raise unknown_name(f"option of {create.__name__}", name, known)


def _fixed_size(encoder: str, image_size: int) -> dict[str, int]:
    """Some timm transformers are built for one image size."""
    config = timm.get_pretrained_cfg(encoder.removeprefix("tu-"), allow_unregistered=True)
    fixed = encoder.startswith("tu-") and config is not None and config.fixed_input_size
    return {"img_size": image_size} if fixed else {}


def _require_weights(encoder: str, weights: str) -> None:
    if encoder in smp_encoders:
        known = smp_encoders[encoder]["pretrained_settings"]
        if weights not in known:
            raise unknown_name(f"weights of encoder {encoder}", weights, known)
    elif weights != "imagenet":
        raise BenchError(
            f"Encoder {encoder} takes weights='imagenet' (timm's default weights), not "
            f"{weights!r}. Name others in the encoder, as in tu-resnet18.a1_in1k."
        )
    elif not timm.is_model_pretrained(encoder.removeprefix("tu-")):
        raise BenchError(f"timm has no pretrained weights of {encoder}. Set weights=null.")


def _normalisation(encoder: str, weights: str) -> Normalisation:
    """Mean and SD of the images that the encoder was pretrained on, on the scale of 0 to 1."""
    params = get_preprocessing_params(encoder, weights)
    if params["input_space"] == "BGR":
        raise ValueError(f"{encoder} expects BGR images, which this family does not supply")
    scale = max(params["input_range"])  # 255 for a few encoders
    mean, std = (tuple(value / scale for value in params[key]) for key in ("mean", "std"))
    return mean, std
