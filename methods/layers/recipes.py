"""Native recipes that more than one method trains with, as data for the trainer."""

from bench.recipes import Original, Recipe

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
    patience=101,  # the release stops when the best epoch is more than 100 epochs ago
)
"""The harness that six baselines of the paper were trained in (Ibtehaz and Kihara, MICCAI 2023;
its own code builds on UCTransNet's)."""

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

ACC_UNET_ORIGINAL = Original(
    code="kiharalab/ACC-UNet@d2bbae4",
    topics={
        "optimizer": ("Adam 1e-3, no weight decay", "Experiments/train_model.py:137"),
        "schedule": (
            "cosine with restarts every 10 epochs down to 1e-4, stepped per epoch",
            "Experiments/train_model.py:150",
        ),
        "length": (
            "at most 1000 epochs; ends when the best epoch is more than 100 epochs ago",
            "Experiments/train_model.py:195-200, Config.py",
        ),
        "batches": (
            "12 images, the rest of a pass as a smaller batch",
            "Experiments/train_model.py:80-85",
        ),
        "augmentation": (
            (
                "p 0.5: 0 to 3 quarter turns, then a flip; else p 0.5: rotation by -20 to 19 whole "
                "degrees, nearest, zeros outside; at 224 px"
            ),
            "Experiments/Load_Dataset.py:19-45",
        ),
        "masks": (
            "resized bilinearly, then every pixel above 0 set",
            "Experiments/Load_Dataset.py:151-159",
        ),
        "selection": (
            "highest thresholded Dice on the validation part, averaged per image",
            "Experiments/train_model.py:165-192, utils.py:80-87",
        ),
    },
    departures=(
        (
            "Masks are nearest neighbours of the stored ones. The release dilates them, also those it "
            "scores on; --set recipe.masks=dilated trains on dilated masks and still scores on the "
            "others."
        ),
        (
            "Images are RGB. The release reads BGR; a network that starts at random learns alike from "
            "either."
        ),
        "Images are resized with antialiasing, the release's (cv2) without.",
        "The checkpoint is chosen as the protocol says.",
    ),
)

ACC_UNET_SGD_ORIGINAL = ACC_UNET_ORIGINAL.model_copy(
    update={
        "topics": ACC_UNET_ORIGINAL.topics
        | {
            "optimizer": (
                "SGD 5e-4, momentum 0.9, weight decay 1e-4",
                "Experiments/train_model.py:113-135",
            )
        },
        "departures": tuple(
            "Images are RGB, as the ImageNet weights were trained. The release feeds them BGR."
            if text.startswith("Images are RGB")
            else text
            for text in ACC_UNET_ORIGINAL.departures
        ),
    }
)
