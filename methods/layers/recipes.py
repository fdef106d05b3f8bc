"""Native recipes that more than one method trains with, as data for the trainer."""

from bench.recipes import Recipe

ACC_UNET = Recipe(
    name="acc-unet",
    optimizer="adam",
    lr=1e-3,
    weight_decay=0.0,
    schedule="cosine-restarts",
    period=10,
    min_lr=1e-4,
    epochs=1000,
    batch_size=12,
    drop_last=False,
    loss="balanced-bce+dice",
    augmentation="acc-unet",
    image_size=224,
    patience=100,
)
"""The harness that six baselines of the paper were trained in (Ibtehaz and Kihara, MICCAI 2023;
its own code builds on UCTransNet's): Adam 1e-3, cosine restarts every 10 epochs down to 1e-4,
batch 12, at most 1000 epochs, stop after 100 without a better validation Dice."""

ACC_UNET_SGD = ACC_UNET.model_copy(
    update={
        "name": "acc-unet-sgd",
        "optimizer": "sgd",
        "lr": 5e-4,
        "momentum": 0.9,
        "weight_decay": 1e-4,
    }
)
"""The same harness for its two Swin networks (SwinUNet, SME-SwinUNet)."""
